"""Maps as pictures, RGB (height, width, 3) of uint8."""

from typing import Any, TypeVar

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

WIDTH = 480  # pixels, of a picture on the page
# Okabe and Ito's vermilion and sky blue, told apart with any kind of colour vision and bright on a dark image.
FALSE_POSITIVE, FALSE_NEGATIVE = (213, 94, 0), (86, 180, 233)
GATE_COLOURS = "turbo"  # from dark blue to red, and told apart in between, where most gates lie
ENERGY_COLOURS = "inferno"
DIMMED = 0.45  # of the image's brightness, behind the errors

Picture = NDArray[np.uint8]
Values = NDArray[np.floating[Any]]  # (height, width)
Pixels = TypeVar("Pixels", Picture, NDArray[np.float32])


def shrunk(pixels: Pixels) -> Pixels:
    """A picture or map with no more detail than the page shows: at most ``WIDTH`` wide, its shape kept."""
    height, width = pixels.shape[:2]
    return resized(pixels, (max(1, round(height * WIDTH / width)), WIDTH)) if width > WIDTH else pixels


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """A picture or map at another size (height, width)."""
    if pixels.shape[:2] == size:
        return pixels
    smaller = pixels.shape[0] * pixels.shape[1] > size[0] * size[1]
    result: Pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return result


def grey(values: Values) -> Picture:
    """Probabilities from black, 0, to white, 1."""
    return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=2)


def errors(image: Picture, prediction: Values, truth: Values) -> Picture:
    """The image dimmed and without colour, with what is wrong in colour, as strong as it is wrong.

    Args:
        image: RGB.
        prediction: probabilities (height, width).
        truth: 1 on the object, else 0, (height, width).
    """
    excess = (prediction - truth)[..., None]
    colour = np.where(excess > 0, FALSE_POSITIVE, FALSE_NEGATIVE)
    behind = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] * DIMMED
    picture: Picture = np.rint(behind * (1 - np.abs(excess)) + colour * np.abs(excess)).astype(np.uint8)
    return picture


def gate_decision(gate: Values) -> Picture:
    """A gate of 0 to 1 as in Fig. 4: red where it leaves the prompt as it is, dark blue where it suppresses it."""
    return _coloured(1 - gate, GATE_COLOURS)


def energy_change(change: Values, highest: float) -> Picture:
    """Changes from 0, dark, to ``highest``, bright and warm."""
    return _coloured(change / highest if highest > 0 else change, ENERGY_COLOURS)


def patch(colour: tuple[int, int, int]) -> Picture:
    """One colour, for a key."""
    return np.array([[colour]], np.uint8)


def ramp(colours: str) -> Picture:
    """One of matplotlib's colour maps from its low to its high end, for a key."""
    return _coloured(np.linspace(0, 1, 256)[None], colours)


def _coloured(values: Values, colours: str) -> Picture:
    return np.asarray(matplotlib.colormaps[colours](values, bytes=True)[..., :3], dtype=np.uint8)
