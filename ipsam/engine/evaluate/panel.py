"""Pictures of a model's inputs and outputs."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ipsam.data import TestSet
from ipsam.engine.inference.forward import forward
from ipsam.engine.inference.gate_map import GATE_MAP, gate_map
from ipsam.engine.runs.settings import Settings
from ipsam.model import IPSAMOutput, Segmenter
from ipsam.utils.files import write_bytes

CELL = 160  # pixels a side
RAMP = np.linspace(0, 1, 80)[None]  # of a colour scale, for a key
HEADER = 40  # pixels: a line for the title, another for the key


@torch.no_grad()
def panel(image: Tensor, mask: Tensor, output: IPSAMOutput, *, most: int = 4) -> NDArray[np.uint8]:
    """Draw a row per image: image, mask, foreground and background prompt, gate, coarse and refined map.

    Args:
        image: (b, 3, H, W) uint8.
        mask: (b, 1, H, W).
        output: the model's output for these images.
        most: largest number of rows.

    Returns:
        RGB (height, width, 3). Prompts and maps are probabilities; the gate is drawn as in Fig. 4, see ``gate_map``.
        Each column of maps has its colour scale in its header. Parts that the model lacks have no column.
    """
    maps = {
        "mask": mask,
        "P+": _prob(output.fg_logits),
        "P-": _prob(output.bg_logits),
        GATE_MAP: output.gate,
        "coarse": _prob(output.coarse),
        "refined": _prob(output.refined),
    }
    columns = [_titled("image", [_rgb(one.float() / 255) for one in image[:most]])]
    for title, values in maps.items():
        if values is not None:
            draw, key = (gate_map, gate_map(1 - RAMP)) if title == GATE_MAP else (_grey, _grey(RAMP))
            columns.append(
                _titled(title, [draw(_cell(one)[0].numpy() / np.float32(255)) for one in values[:most]], key)
            )
    return np.concatenate(columns, axis=1)


@torch.inference_mode()
def save_panel(model: Segmenter, test_set: TestSet, path: Path, *, settings: Settings, most: int = 4) -> Path:
    """Draw the panel of a test set's first images and save it as PNG."""
    model.eval()
    panels = []
    for index in range(min(most, len(test_set))):
        item = test_set[index]
        image = item["image"][None]
        mask = item["placement"].mask(item["mask"])
        output = forward(model, image, [item["mask"]], [item["placement"]], device=settings.device, bf16=settings.bf16)
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


def _grey(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=2)


def _titled(title: str, cells: list[NDArray[np.uint8]], key: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """Stack cells below a title and a key of colours from 0 to 1."""
    header = np.full((HEADER, CELL, 3), 255, np.uint8)
    words = [(title, 4, 15)]
    if key is not None:
        left, right = 18, 18 + key.shape[1]
        header[24:36, left:right] = key
        words += [("0", 4, 35), ("1", right + 5, 35)]
    for text, x, y in words:
        cv2.putText(header, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([header, *cells], axis=0)
