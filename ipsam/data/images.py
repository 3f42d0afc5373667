"""Reading images and masks from disk.

Files are told apart by their content, not by their name: some benchmarks hold PNGs called `.jpg`. The EXIF orientation
is ignored throughout, because image and mask of a dataset are aligned as stored pixels; turning only the one that
happens to carry the tag would tear the pair apart. Only a TIFF's cannot be: OpenCV and Pillow both apply it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ipsam.data.decoding import COLOUR, IS_RGB, decode
from ipsam.data.headers import MAX_BYTES, Size, check_size, open_header, quiet_pillow
from ipsam.utils.files import unreadable

FOREGROUND_ABOVE = 128  # a ground truth pixel above this value is foreground, as the evaluation protocol has it
MAX_TINT = 16  # by which the colours of a mask's pixel may differ, as where JPEG or WebP has rounded them
NUM_COLOURS, NUM_LOOKED_AT = 4, 100_000  # colours named of a mask in colour, and the pixels searched for them
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
    return decode_image(read_bytes(path), path, upright=upright, at_least=at_least)


def read_mask(path: str | Path, above: int = FOREGROUND_ABOVE) -> NDArray[np.uint8]:
    """Read a mask as uint8 of shape (H, W) with values 0 and 255; foreground is what lies above `above`.

    A grey mask may be stored in colours, if they are all alike, and with an alpha channel, if it is opaque or the same
    mask again. An all-zero mask is a valid one without an object.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, broken or no image, or has several pages; MaskError: its values are labels (such
            as 0/1) rather than 0/255, or have other than 8 bits; or it holds colours or another mask in its alpha
            channel.
    """
    path = Path(path)
    return binarise_mask(decode_mask(read_bytes(path), path), path, above)


def decode_image(
    content: bytes, path: Path, *, upright: bool = False, at_least: int | None = None
) -> NDArray[np.uint8]:
    """`read_image` of a file's content; `path` is for messages."""
    pixels = decode(content, path, COLOUR, upright=upright, at_least=at_least)
    image: NDArray[np.uint8] = pixels if IS_RGB else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    return image


def decode_mask(content: bytes, path: Path) -> NDArray[np.uint8]:
    """The grey values (H, W) of a mask, given its file's content; `path` is for messages.

    Raises:
        ValueError: the content is broken or no image, or has several pages; MaskError: it has other than 8 bits, or
            holds colours or another mask in its alpha channel.
    """
    # UNCHANGED keeps colours and alpha, which may hold the object, and 16-bit labels, which would become background.
    mask = decode(content, path, cv2.IMREAD_UNCHANGED, single="mask")
    if mask.dtype != np.uint8:
        raise MaskError(f"{path}: a mask of type {mask.dtype}; masks must be 8-bit, 0 for background, 255 for object")
    if mask.ndim == 2:
        return mask
    *colours, alpha = cv2.split(mask) if mask.shape[2] == 4 else (*cv2.split(mask), None)
    tint = max(cv2.norm(one, other, cv2.NORM_INF) for one, other in combinations(colours, 2))
    if tint > MAX_TINT:
        raise MaskError(_in_colour(mask[..., 2::-1], path))
    grey = decode(content, path, cv2.IMREAD_GRAYSCALE) if tint else colours[0]
    if alpha is not None:
        _check_alpha(alpha, grey, path)
    return grey


def _in_colour(pixels: NDArray[np.uint8], path: Path) -> str:
    """The message on a mask (H, W, 3) that holds colours: which they are."""
    is_coloured = np.ptp(pixels, axis=2) > MAX_TINT
    coloured = pixels[is_coloured]
    colours, counts = np.unique(coloured[:: 1 + len(coloured) // NUM_LOOKED_AT], axis=0, return_counts=True)
    often = [str(tuple(colours[index].tolist())) for index in np.argsort(-counts, kind="stable")[:NUM_COLOURS]]
    shown = ", ".join(often) + (", ..." if len(colours) > NUM_COLOURS else "")
    return (
        f"{path}: a mask in colour: {is_coloured.mean():.1%} of its pixels have colours such as {shown} (RGB), which "
        "have no meaning as grey; save it as an 8-bit grey PNG, 0 for background and 255 for object"
    )


def _check_alpha(alpha: NDArray[np.uint8], grey: NDArray[np.uint8], path: Path) -> None:
    """See that a mask's alpha channel is opaque, or the same as its grey values: else one of them is not the mask.

    Raises:
        MaskError: they disagree, or all is transparent.
    """
    if alpha.min() == 255 or (alpha.any() and np.array_equal(alpha, grey)):
        return
    if alpha.any() and grey.min() == grey.max():
        raise MaskError(
            f"{path}: the object is in the alpha channel, while the colours are {grey.min()} throughout; save the "
            "alpha channel itself as an 8-bit grey PNG, 0 for background and 255 for object"
        )
    raise MaskError(
        f"{path}: transparent in {(alpha < 255).mean():.1%} of its pixels, where its alpha channel and its colours are "
        "different masks; save the right one as an 8-bit grey PNG without an alpha channel"
    )


def binarise_mask(mask: NDArray[np.uint8], path: Path, above: int = FOREGROUND_ABOVE) -> NDArray[np.uint8]:
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
def open_image(path: Path) -> Iterator[Image.Image]:
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
    with open_image(path) as image:
        return check_size(image.height, image.width, path)


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check the path, or that the dataset was unpacked completely")
