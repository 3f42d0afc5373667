"""Read probability maps in any format that methods save them in."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.decoding.pixels import decode
from ipsam.data.files import ARRAYS
from ipsam.data.images import read_bytes
from ipsam.data.saved_maps.arrays import decode_array
from ipsam.data.saved_maps.coco_maps import CocoMap

ROUNDING = 1e-6  # tolerance of floats outside [0, 1], as after an interpolation


def read_map(path: str | Path | CocoMap) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Read a saved map (H, W): 8 bits as uint8 from 0 to 255, 16 bits and floats as float32 in [0, 1].

    A grey map may be stored as RGB, RGBA or with a palette; an array may be boolean.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, broken, cut off or not an image; has several pages, colours or transparent
            pixels; or its values are floats outside [0, 1] or have an unsupported type.
    """
    if isinstance(path, CocoMap):
        return path.read()
    path = Path(path)
    if path.suffix.lower() in ARRAYS:
        pixels = decode_array(read_bytes(path), path)
        pixels = pixels * np.uint8(255) if pixels.dtype == np.bool_ else pixels
    else:
        pixels = decode(read_bytes(path), path, cv2.IMREAD_UNCHANGED, single="map")
    if pixels.ndim == 3:
        pixels = _grey(pixels, path)
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return (pixels / 65535).astype(np.float32)
    if np.issubdtype(pixels.dtype, np.floating):
        return _probabilities(pixels, path)
    raise ValueError(
        f"{path}: a map of type {pixels.dtype}; maps must be 8-bit or 16-bit, or floats within [0, 1]: save it as one"
    )


def _grey(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return one channel of an opaque grey image (H, W, 3 or 4)."""
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    opaque = 1 if np.issubdtype(pixels.dtype, np.floating) else np.iinfo(pixels.dtype).max
    if (alpha != opaque).any():
        raise ValueError(
            f"{path}: transparent in {(alpha != opaque).mean():.1%} of the pixels, so that the map has no value there; "
            "save the probabilities as a grey picture without an alpha channel"
        )
    if ((colours != colours[..., :1]) & (colours == colours)).any():  # NaN is not a colour
        raise ValueError(
            f"{path}: a colour picture, not a map of probabilities; save the probabilities themselves as a grey "
            "picture (black 0, white 1), without a colour map or the image behind it"
        )
    return colours[..., 0]


def _probabilities(values: NDArray[Any], path: Path) -> NDArray[np.float32]:
    if num := int((~np.isfinite(values)).sum()):
        raise ValueError(f"{path}: {num} of the {values.size} values are NaN or infinite; save probabilities in [0, 1]")
    low, high = float(values.min()), float(values.max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ValueError(
            f"{path}: float values from {low:.9g} to {high:.9g}; a map of floats holds probabilities within [0, 1] "
            "(for logits: save their sigmoid; for 0 to 255: divide by 255)"
        )
    return values.clip(0, 1).astype(np.float32)
