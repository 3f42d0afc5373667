"""Decode an image file's content with OpenCV, once its header is known to be harmless."""

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ipsam.data.decoding.formats import JPEG_BEGIN, TIFF_BEGINNINGS, check_jpeg, is_cut_off, plain_png_size, read_tiff
from ipsam.data.decoding.limits import Size, check_size, open_header, quiet_pillow, reason
from ipsam.data.files import hxw

CHECKED_BY_OPENCV = ("JPEG", "MPO", "PNG")  # in other formats it silently fills in what is damaged or missing
# Flags that ask libjpeg for a part of the size. The colours they name are overruled by other flags.
REDUCED: dict[int, int] = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    1: 0,
}


def decode(
    content: bytes, path: Path, flags: int, *, upright: bool = False, at_least: int | None = None, single: str = ""
) -> NDArray[Any]:
    """Decode an image file's content with OpenCV's `IMREAD_...` ``flags``; errors name ``path``.

    Args:
        upright: apply the EXIF orientation.
        at_least: decode a JPEG at 1/2, 1/4 or 1/8 if both sides keep this many pixels; None: at its own size.
        single: what the only page is, such as "mask"; empty: further pages are ignored.

    Raises:
        ValueError: the content is broken, cut off, too large, no image, in CIELAB, or has several pages where
            ``single`` is given.
    """
    size = _check_content(content, path, single)
    reduction = _reduction(size, at_least) if at_least is not None and content.startswith(JPEG_BEGIN) else 1
    flags |= REDUCED[reduction] | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    pixels: NDArray[Any] | None = None
    if not is_cut_off(content):
        try:
            pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
        except cv2.error as error:
            raise ValueError(
                f"{path}: can't be decoded ({reason(error)}); fetch the file again or leave it out"
            ) from error
    if pixels is None:
        raise ValueError(f"{path}: broken, or no image OpenCV can read; fetch the file again or leave it out")
    expected = -(-size[0] // reduction), -(-size[1] // reduction)  # rounded up, as libjpeg does
    if pixels.shape[:2] not in (expected, expected[::-1] if upright else expected):
        raise ValueError(
            f"{path}: broken, {hxw(pixels.shape[:2])} pixels where its header says {hxw(expected)}; "
            "fetch the file again or leave it out"
        )
    if flags == cv2.IMREAD_UNCHANGED and content.startswith(TIFF_BEGINNINGS):
        return _restore_alpha(pixels, content, path)
    if flags == cv2.IMREAD_UNCHANGED and content.startswith(b"BM"):
        return _restore_bmp_alpha(pixels, content)
    return pixels


def _check_content(content: bytes, path: Path, single: str) -> Size:
    """Return the size (height, width) of content that OpenCV can decode in bounded time and memory."""
    if png := plain_png_size(content):
        return check_size(*png, path)
    tiff = read_tiff(content, path) if content.startswith(TIFF_BEGINNINGS) else None
    if tiff is not None:
        check_size(*tiff.tile, path)  # a whole tile is allocated
        if single and tiff.has_successor:
            raise _several_pages("TIFF", single, path)
    with quiet_pillow():
        try:
            image = open_header(BytesIO(content), path)
        except ValueError:
            if tiff is None or not tiff.holds_floats:  # Pillow has no mode for some kinds of floats
                raise
            return check_size(*tiff.size, path)
        with image:
            size = check_size(image.height, image.width, path)
            if content.startswith(JPEG_BEGIN):
                check_jpeg(content, path)
            if image.mode == "LAB":
                raise ValueError(f"{path}: in CIELAB, which would be taken for RGB; save it as RGB")
            if single and tiff is None and getattr(image, "n_frames", 1) > 1:
                raise _several_pages(image.format, single, path)
            if image.format not in CHECKED_BY_OPENCV:
                _decode_with_pillow(image, path)
    return size


def _several_pages(kind: str | None, single: str, path: Path) -> ValueError:
    return ValueError(f"{path}: a {kind} of several pages, not one {single}; save each page as a file of its own")


def _decode_with_pillow(image: Image.Image, path: Path) -> None:
    try:
        image.load()
    except Exception as error:
        raise ValueError(f"{path}: broken ({reason(error)}); fetch the file again or leave it out") from error


def _restore_alpha(pixels: NDArray[Any], content: bytes, path: Path) -> NDArray[Any]:
    """Add the alpha channel of a grey TIFF, which OpenCV drops: (H, W) to (H, W, 4). Others stay unchanged."""
    with quiet_pillow():
        try:
            image = open_header(BytesIO(content), path)
        except ValueError:  # floats that Pillow has no mode for
            return pixels
        with image:
            if image.mode != "LA":
                return pixels
            return np.dstack([pixels, pixels, pixels, np.asarray(image.getchannel("A"))])


def _restore_bmp_alpha(pixels: NDArray[Any], content: bytes) -> NDArray[Any]:
    """Add the fourth channel of a 32-bit BMP, which OpenCV drops, to (H, W, 3), unless it is mere padding."""
    start, height, bits, compression = struct.unpack_from("<10xI8xi2xHI", content)
    if (bits, compression, pixels.shape[2:]) != (32, 0, (3,)):
        return pixels
    fourth = np.frombuffer(content, np.uint8, pixels.size // 3 * 4, start)[3::4].reshape(pixels.shape[:2])
    is_padding = fourth.min() == fourth.max()
    return pixels if is_padding else np.dstack([pixels, fourth if height < 0 else fourth[::-1]])


def _reduction(size: Size, at_least: int) -> int:
    """Return the largest factor, 8, 4, 2 or 1, that leaves ``at_least`` pixels on both sides."""
    return next((factor for factor in REDUCED if min(size) >= factor * at_least), 1)
