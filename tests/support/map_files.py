"""A mask of 6 x 9 pixels, and how tests save it."""

from pathlib import Path

import numpy as np
from PIL import Image

MASK = np.zeros((6, 9), np.uint8)
MASK[2:4, 3:7] = 255


def save(path: Path, pixels: np.ndarray = MASK) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path
