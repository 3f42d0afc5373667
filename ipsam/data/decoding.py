"""From an image file's content to pixels, by OpenCV, once it is known to be harmless."""

from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.files import hxw
from ipsam.data.headers import (
    JPEG_BEGIN,
    TIFF_BEGINNINGS,
    Size,
    check_content,
    is_cut_off,
    open_header,
    quiet_pillow,
    reason,
)

IS_RGB = hasattr(cv2, "IMREAD_COLOR_RGB")  # since OpenCV 4.11; before, it gives BGR alone
COLOUR: int = cv2.IMREAD_COLOR_RGB if IS_RGB else cv2.IMREAD_COLOR
# What asks libjpeg for a part of the size, in whatever colours the other flags say.
SHRUNK: dict[int, int] = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: 0,
}


def decode(
    content: bytes,
    path: Path,
    flags: int,
    *,
    upright: bool = False,
    at_least: int | None = None,
    single: str = "",
) -> NDArray[Any]:
    """An image file's pixels, as OpenCV gives them by its ``flags``.

    Args:
        content: of the file.
        path: for messages.
        flags: of OpenCV's.
        upright: turn them as the EXIF orientation says.
        at_least: decode a JPEG at 1/2, 1/4 or 1/8 where both sides still have so many pixels; None: at its own size.
        single: what the only page is, see ``check_content``.

    Raises:
        ValueError: the content is broken, cut off or no image, or too large to be decoded; or ``single`` and it has
            several pages.
    """
    size = check_content(content, path, single=single)
    shrink = 1 if at_least is None or not content.startswith(JPEG_BEGIN) else _shrink(size, at_least)
    pixels: NDArray[Any] | None = None
    flags |= SHRUNK[shrink] | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    if not is_cut_off(content):
        try:
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        except cv2.error as error:
            raise ValueError(
                f"{path}: can't be decoded ({reason(error)}); fetch the file again or leave it out"
            ) from error
    if pixels is None:
        raise ValueError(f"{path}: broken, or no image OpenCV can read; fetch the file again or leave it out")
    expected = -(-size[0] // shrink), -(-size[1] // shrink)  # rounded up, as libjpeg does
    if pixels.shape[:2] not in (expected, expected[::-1] if upright else expected):
        raise ValueError(
            f"{path}: broken, {hxw(pixels.shape[:2])} pixels where its header says {hxw(expected)}; "
            "fetch the file again or leave it out"
        )
    if flags == cv2.IMREAD_UNCHANGED and content.startswith(TIFF_BEGINNINGS):
        return _with_alpha(pixels, content, path)
    return pixels


def _with_alpha(pixels: NDArray[Any], content: bytes, path: Path) -> NDArray[Any]:
    """Put back the alpha channel of a grey TIFF, which OpenCV drops: (H, W) to (H, W, 4); others stay as they are."""
    with quiet_pillow():
        try:
            image = open_header(BytesIO(content), path)
        except ValueError:  # floats, for some of which Pillow has no mode
            return pixels
        with image:
            if image.mode != "LA":
                return pixels
            return np.dstack([pixels, pixels, pixels, np.asarray(image.getchannel("A"))])


def _shrink(size: Size, at_least: int) -> int:
    """The most by which a picture of this size may be shrunk: 8, 4, 2 or 1."""
    return next((times for times in SHRUNK if min(size) >= times * at_least), 1)
