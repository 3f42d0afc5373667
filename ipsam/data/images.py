"""Reading images and masks from disk.

Files are told apart by their content, not by their name: some benchmarks hold PNGs called `.jpg`. The EXIF orientation
is ignored throughout, because image and mask of a dataset are aligned as stored pixels; turning only the one that
happens to carry the tag would tear the pair apart. Only a TIFF's cannot be: OpenCV and Pillow both apply it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ipsam.data.decoding import COLOUR, IS_RGB, decode
from ipsam.data.files import unreadable
from ipsam.data.headers import MAX_BYTES, Size, check_size, open_header, quiet_pillow

FOREGROUND_ABOVE = 128  # a ground truth pixel above this value is foreground, as the evaluation protocol has it
NUM_READERS = 16  # threads that read headers; they mostly wait for the file system


class MaskError(ValueError):
    """A picture that can be read, but is no mask."""


def read_image(path: str | Path, *, upright: bool = False, at_least: int | None = None) -> NDArray[np.uint8]:
    """Read a colour or grey image as uint8 RGB of shape (H, W, 3); an alpha channel is dropped.

    Args:
        path: of the file.
        upright: turn the image as its EXIF orientation says, as for anybody's photographs; a dataset's stay as stored.
        at_least: decode a JPEG at 1/2, 1/4 or 1/8 where both sides still have so many pixels; None: at its own size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, broken or no image.
    """
    path = Path(path)
    return as_image(read_bytes(path), path, upright=upright, at_least=at_least)


def read_mask(path: str | Path, above: int = FOREGROUND_ABOVE) -> NDArray[np.uint8]:
    """Read a mask as uint8 of shape (H, W) with values 0 and 255; foreground is what lies above `above`.

    Colour masks are turned to grey first. An all-zero mask is a valid one without an object.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, broken or no image; MaskError: its values are labels (such as 0/1) rather than
            0/255, or have other than 8 bits.
    """
    path = Path(path)
    return binary(as_grey(read_bytes(path), path), path, above)


def as_image(content: bytes, path: Path, *, upright: bool = False, at_least: int | None = None) -> NDArray[np.uint8]:
    """`read_image` of a file's content; `path` is for messages."""
    pixels = decode(content, path, COLOUR, upright=upright, at_least=at_least)
    image: NDArray[np.uint8] = pixels if IS_RGB else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return image


def as_grey(content: bytes, path: Path) -> NDArray[np.uint8]:
    """The grey values (H, W) of a mask, given its file's content; `path` is for messages.

    Raises:
        ValueError: the content is broken or no image; MaskError: it has other than 8 bits.
    """
    # ANYDEPTH keeps 16-bit values as they are; squeezed to 8 bits, 16-bit labels would all become background.
    mask = decode(content, path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if mask.dtype != np.uint8:
        raise MaskError(f"{path}: a mask of type {mask.dtype}; masks must be 8-bit, 0 for background, 255 for object")
    return mask


def binary(mask: NDArray[np.uint8], path: Path, above: int = FOREGROUND_ABOVE) -> NDArray[np.uint8]:
    """A mask's grey values (H, W) as 0 and 255; MaskError that names `path` where they are labels."""
    values_255: NDArray[np.uint8] = cv2.threshold(mask, above, 255, cv2.THRESH_BINARY)[1]
    if not values_255.any() and mask.any():
        values = np.unique(mask)
        shown = ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
        raise MaskError(
            f"{path}: the mask's values are {shown}, none above {above}, so that it holds no foreground; "
            "masks must be 0 for background and 255 for object (for 0/1 labels: multiply by 255 and save again)"
        )
    return values_255


def image_size(path: str | Path) -> Size:
    """Size (height, width) in stored pixels, from the header alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the header can't be read, or promises too many pixels.
    """
    with quiet_pillow():
        return _header_size(Path(path))


def image_sizes(paths: Sequence[Path]) -> list[Size | ValueError | FileNotFoundError]:
    """`image_size` of many files by a pool of threads; where a header can't be read its error stands in the list."""

    def size_or_error(path: Path) -> Size | ValueError | FileNotFoundError:
        try:
            return _header_size(path)
        except (ValueError, FileNotFoundError) as error:
            return error

    with quiet_pillow(), ThreadPoolExecutor(NUM_READERS) as pool:
        return list(pool.map(size_or_error, paths))


def read_bytes(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, too large or can't be read.
    """
    try:
        _check_is_file(path)
        if (num_bytes := path.stat().st_size) > MAX_BYTES:
            raise ValueError(f"{path}: {num_bytes:,} bytes, above the limit of {MAX_BYTES:,}; leave it out")
        content = path.read_bytes()
    except PermissionError as error:
        raise ValueError(unreadable(path, error)) from error
    if not content:
        raise ValueError(f"{path}: the file is empty; fetch it again or leave it out")
    return content


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """A picture as Pillow opens it, its header read and no more. Call it within ``quiet_pillow``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the header can't be read.
    """
    try:
        _check_is_file(path)
        image = open_header(path, path)
    except PermissionError as error:
        raise ValueError(unreadable(path, error)) from error
    with image:
        yield image


def _header_size(path: Path) -> Size:
    with opened(path) as image:
        return check_size(image.height, image.width, path)


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check the path, or that the dataset was unpacked completely")
