"""Pictures of a model's inputs and outputs."""

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ipsam.data import TestSet
from ipsam.engine.inference.forward import forward
from ipsam.engine.runs.settings import Settings
from ipsam.model import IPSAMOutput, Segmenter
from ipsam.utils.files import write_bytes

CELL = 160  # pixels a side
HEADER = 20  # pixels


@torch.no_grad()
def panel(image: Tensor, mask: Tensor, output: IPSAMOutput, *, most: int = 4) -> NDArray[np.uint8]:
    """Draw a row per image: image, mask, foreground and background prompt, gate, coarse and refined map.

    Args:
        image: (b, 3, H, W) uint8.
        mask: (b, 1, H, W).
        output: the model's output for these images.
        most: largest number of rows.

    Returns:
        RGB (height, width, 3). Prompts and maps are probabilities; the gate's complement is in colour, as in Fig. 4
        (red: kept, dark blue: suppressed). Parts that the model lacks have no column.
    """
    maps = {
        "mask": mask,
        "P+": _prob(output.fg_logits),
        "P-": _prob(output.bg_logits),
        "1 - gate": None if output.gate is None else 1 - output.gate,
        "coarse": _prob(output.coarse),
        "refined": _prob(output.refined),
    }
    columns = [_titled("image", [_rgb(one.float() / 255) for one in image[:most]])]
    for title, values in maps.items():
        if values is not None:
            columns.append(_titled(title, [_grey(one, coloured=title == "1 - gate") for one in values[:most]]))
    return np.concatenate(columns, axis=1)


@torch.inference_mode()
def save_panel(model: Segmenter, test_set: TestSet, path: Path, *, settings: Settings, most: int = 4) -> Path:
    """Draw the panel of a test set's first images and save it as PNG."""
    model.eval()
    panels = []
    for index in range(min(most, len(test_set))):
        item = test_set[index]
        image = item["image"][None]
        mask = cv2.resize(item["mask"], (image.shape[-1], image.shape[-2]), interpolation=cv2.INTER_NEAREST)
        output = forward(model, image, [item["mask"]], device=settings.device, bf16=settings.bf16)
        panels.append(panel(image, torch.from_numpy(mask)[None, None] / 255, output))
    write_bytes(path, cv2.imencode(".png", np.concatenate(panels)[..., ::-1])[1].tobytes())
    return path


def _prob(logits: Tensor | None) -> Tensor | None:
    return None if logits is None else logits.float().sigmoid()


def _cell(values: Tensor) -> Tensor:
    resized = F.interpolate(values[None].float().cpu(), size=(CELL, CELL), mode="bilinear", antialias=True)[0]
    return resized.clamp(0, 1).mul(255).round().to(torch.uint8)


def _rgb(image: Tensor) -> NDArray[np.uint8]:
    picture: NDArray[np.uint8] = _cell(image).permute(1, 2, 0).numpy()
    return picture


def _grey(values: Tensor, *, coloured: bool) -> NDArray[np.uint8]:
    grey = _cell(values)[0].numpy()
    if coloured:
        return np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_TURBO)[..., ::-1], dtype=np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _titled(title: str, cells: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    header = np.full((HEADER, CELL, 3), 255, np.uint8)
    cv2.putText(header, title, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([header, *cells], axis=0)
