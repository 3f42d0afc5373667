"""Pictures of a model's inputs and outputs, in the style of the paper's Fig. 4."""

from pathlib import Path

import cv2
import torch
from torch import Tensor

from ipsam.data import TestSet
from ipsam.engine.evaluate.page import DPI, Column, RGBImage, draw_page, gates, probabilities, rendered
from ipsam.engine.inference.drawing import GATE_MAP
from ipsam.engine.inference.forward import forward
from ipsam.engine.runs.settings import Settings
from ipsam.model import IPSAMOutput, Segmenter
from ipsam.utils.files import write_bytes

PANEL_DPI = DPI // 2  # halves a page's lengths in pixels


def panel(image: Tensor, mask: Tensor, output: IPSAMOutput, *, most: int = 4) -> RGBImage:
    """Draw a row for each of the first ``most`` images; arguments as of ``columns``."""
    return rendered(draw_page(columns(image[:most], mask, output)), PANEL_DPI)


@torch.no_grad()
def columns(image: Tensor, mask: Tensor, output: IPSAMOutput) -> list[Column]:
    """Make the columns image, truth, foreground and background prompt, gate, coarse and refined map.

    Args:
        image: (b, 3, H, W) uint8.
        mask: (b, 1, H, W), and perhaps more.
        output: the model's output for these images, and perhaps more.

    Returns:
        A column for each part that the model has. Prompts and maps are probabilities.
    """
    maps = {
        "Truth": mask,
        "P⁺": _prob(output.fg_logits),
        "P⁻": _prob(output.bg_logits),
        GATE_MAP: output.gate,
        "Coarse": _prob(output.coarse),
        "Refined": _prob(output.refined),
    }
    shown = [Column("Image", [*image.permute(0, 2, 3, 1).cpu().numpy()])]
    for title, values in maps.items():
        if values is not None:
            cells = [*values[: len(image), 0].detach().float().nan_to_num().cpu().numpy()]
            shown.append(gates(cells) if title == GATE_MAP else probabilities(title, cells))
    return shown


@torch.inference_mode()
def save_panel(model: Segmenter, test_set: TestSet, path: Path, *, settings: Settings, most: int = 4) -> Path:
    """Draw the panel of a test set's first images and save it as PNG."""
    model.eval()
    rows = []
    for index in range(min(most, len(test_set))):
        item = test_set[index]
        image = item["image"][None]
        mask = item["placement"].mask(item["mask"])
        output = forward(model, image, [item["mask"]], [item["placement"]], device=settings.device, bf16=settings.bf16)
        rows.append(columns(image, torch.from_numpy(mask)[None, None] / 255, output))
    alike = zip(*rows, strict=True)
    page = [Column(one[0].title, [cell for row in one for cell in row.cells], one[0].key) for one in alike]
    picture = rendered(draw_page(page), PANEL_DPI)
    write_bytes(path, cv2.imencode(".png", picture[..., ::-1])[1].tobytes())
    return path


def _prob(logits: Tensor | None) -> Tensor | None:
    return None if logits is None else logits.float().sigmoid()
