"""Convert a user's image, of any source, size and mode, to upright RGB."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from typing_extensions import TypeIs

from ipsam.data.images import image_size, read_image
from ipsam.data.items import Stored, name_of

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # predicting by an exported file does without torch

MAX_16_BIT = 65535
ImageLike = str | Path | Image.Image | NDArray[np.uint8] | Tensor


class TooManyPixelsError(ValueError):
    """An image above a limit that its reader may set."""


def to_rgb(image: ImageLike) -> NDArray[np.uint8]:
    """Convert an image to RGB (height, width, 3) uint8; grey is repeated, an alpha channel dropped.

    Args:
        image: a path; a Pillow image; an array (height, width) or (height, width, 1, 3 or 4) of uint8; or a tensor
            (1 or 3, height, width) of uint8, or of floats in [0, 1]. The EXIF orientation of a file or Pillow image is
            applied.

    Returns:
        A copy, also of an array: a camera may overwrite its buffer.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is broken or not an image, or the shape, type or range is not one of those above.
    """
    if isinstance(image, str | Path):
        return read_image(Path(image).expanduser(), upright=True)
    if isinstance(image, Image.Image):
        return _from_pillow(ImageOps.exif_transpose(image))
    pixels = _from_tensor(image) if is_tensor(image) else image
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8:
        kind = getattr(pixels, "dtype", type(pixels).__name__)
        raise ValueError(f"an image is a path, a Pillow image, an array of uint8 or a tensor, not {kind}")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        raise ValueError(f"an image has the shape (height, width) or (height, width, 1, 3 or 4), not {pixels.shape}")
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.array(pixels[..., :3], order="C")


def read_upload(upload: Stored, *, max_pixels: int) -> NDArray[np.uint8]:
    """Read a stranger's image upright, once its header has shown its size.

    Raises:
        ValueError: the image is broken, none, or has too many pixels.
    """
    height, width = image_size(upload)
    if height * width > max_pixels:
        raise TooManyPixelsError(
            f"{name_of(upload)}: {height * width / 1e6:.0f} megapixels exceed the limit of {max_pixels / 1e6:.0f}; "
            "make the image smaller, or use ipsam predict"
        )
    return read_image(upload, upright=True)


def _from_pillow(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I"):  # Pillow would clip values above 255; files are read by their upper 8 bits
        values = np.asarray(image)
        if values.min(initial=0) < 0 or values.max(initial=0) > MAX_16_BIT:
            raise ValueError("a Pillow image of whole numbers must be within 16 bits; save it with 8")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("a Pillow image of floats has no scale; give an array of uint8")
    return np.array(image.convert("RGB"))


def is_tensor(image: object) -> TypeIs[Tensor]:
    """Return whether an object is a tensor of torch, which is then imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


def _from_tensor(image: Tensor) -> NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"an image tensor has the shape (3, height, width), not {tuple(image.shape)}")
    image = image.detach().cpu()
    if image.is_floating_point():
        if not (image.isfinite().all() and image.min() >= 0 and image.max() <= 1):
            raise ValueError(
                f"an image tensor of floats holds values from 0 to 1, not {image.min():.3g} to {image.max():.3g}: "
                "give it as it is, not normalised"
            )
        image = (image * 255).round().byte()
    pixels: NDArray[np.uint8] = image.permute(1, 2, 0).numpy()
    return pixels
