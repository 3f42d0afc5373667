"""Read images and masks from disk.

Formats are recognised by content, not by name: some benchmarks hold PNGs called `.jpg`. The EXIF orientation is
ignored, because image and mask of a dataset are aligned as stored; turning only the one that carries the tag would
separate them. TIFFs are the exception: OpenCV and Pillow always apply it.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from itertools import chain, combinations
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ipsam.data.decoding.formats import PNG_HEADER_BYTES, plain_png_size
from ipsam.data.decoding.limits import MAX_BYTES, Size, check_size, check_tags, open_header, quiet_pillow
from ipsam.data.decoding.pixels import decode
from ipsam.data.drawings import Drawing
from ipsam.data.items import Encoded, Item, Stored, name_of
from ipsam.utils.files import is_absent, open_regular, unreadable

FOREGROUND_ABOVE = 128  # mask values above it are foreground, by the evaluation protocol
PNG_BEGIN = b"\x89PNG"
OPAQUE = 250  # alpha from which a whole mask counts as opaque
MAX_TINT = 16  # largest difference between the colours of a grey mask's pixel; JPEG and WebP round colours
NUM_COLOURS, NUM_SAMPLED = 4, 100_000  # colours that a message names, and pixels searched for them
ORIENTATION, SIDEWAYS = 0x0112, 5  # EXIF tag, and its first value that swaps height and width
NUM_READERS = 16  # threads that read headers; they mostly wait for the file system
NUM_AT_ONCE = 8  # headers that a thread reads before it asks for more: asking takes 1.4 KB until all are read


class MaskError(ValueError):
    """Image file that can be read but is not a mask."""


class Header(NamedTuple):
    """Header of an image file: (height, width) as stored, and the EXIF orientation that reading ignores, or 1."""

    size: Size
    orientation: int = 1

    @property
    def upright(self) -> Size:
        """Size that the image would have if its orientation were applied."""
        return self.size[::-1] if self.orientation >= SIDEWAYS else self.size


def read_image(path: str | Stored, *, upright: bool = False, at_least: int | None = None) -> NDArray[np.uint8]:
    """Read a colour or grey image as RGB (H, W, 3) uint8; an alpha channel is dropped.

    Args:
        upright: apply the EXIF orientation, for photographs; images of a dataset stay as stored.
        at_least: decode a JPEG at 1/2, 1/4 or 1/8 if both sides keep this many pixels; None: at its own size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, broken or not an image.
    """
    stored = Path(path) if isinstance(path, str) else path
    return decode(read_bytes(stored), name_of(stored), cv2.IMREAD_COLOR_RGB, upright=upright, at_least=at_least)


def read_mask(path: str | Stored, above: int = FOREGROUND_ABOVE) -> NDArray[np.uint8]:
    """Read a mask as (H, W) uint8 with values 0 and 255; values above ``above`` are foreground.

    A grey mask may be stored as RGB, and with an alpha channel that is opaque or the same mask again. An all-zero mask
    is valid: it has no object. A drawing is drawn.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, broken, not an image, or has several pages.
        MaskError: the values are labels (such as 0/1), not 0/255, or not 8-bit; or the mask holds colours, or another
            mask in its alpha channel.
    """
    stored = Path(path) if isinstance(path, str) else path
    return binarise_mask(mask_values(stored), name_of(stored), above)


def mask_values(stored: Stored) -> NDArray[np.uint8]:
    """Read the grey values (H, W) of a mask before the threshold; errors as of `read_mask`."""
    if isinstance(stored, Drawing):
        return stored.draw(image_size(stored))
    grey = decode_mask(read_bytes(stored), name_of(stored))
    if isinstance(stored, Encoded) and stored.labels:
        return np.where(np.isin(grey, list(stored.labels)), np.uint8(255), np.uint8(0))
    return grey


def decode_mask(content: bytes, path: Path) -> NDArray[np.uint8]:
    """Decode the grey values (H, W) of a mask file's content; ``path`` is for error messages.

    Raises:
        ValueError: the content is broken, not an image, or has several pages.
        MaskError: it is not 8-bit, or holds colours, or another mask in its alpha channel.
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
        raise MaskError(_colours_message(mask[..., 2::-1], path))
    grey = decode(content, path, cv2.IMREAD_GRAYSCALE) if tint else colours[0]
    if alpha is not None:
        is_multiplied = not content.startswith(PNG_BEGIN)  # TIFF's and WebP's decoders multiply alpha into colours
        _check_alpha(alpha, grey, path, may_be_empty=not is_multiplied)
    return grey


def _colours_message(pixels: NDArray[np.uint8], path: Path) -> str:
    """Name the most frequent colours of a coloured mask (H, W, 3)."""
    is_coloured = np.ptp(pixels, axis=2) > MAX_TINT
    coloured = pixels[is_coloured]
    colours, counts = np.unique(coloured[:: 1 + len(coloured) // NUM_SAMPLED], axis=0, return_counts=True)
    frequent = [str(tuple(colours[index].tolist())) for index in np.argsort(-counts, kind="stable")[:NUM_COLOURS]]
    shown = ", ".join(frequent) + (", ..." if len(colours) > NUM_COLOURS else "")
    return (
        f"{path}: a mask in colour: {is_coloured.mean():.1%} of its pixels have colours such as {shown} (RGB), which "
        "have no meaning as grey; save it as an 8-bit grey PNG, 0 for background and 255 for object"
    )


def _check_alpha(alpha: NDArray[np.uint8], grey: NDArray[np.uint8], path: Path, *, may_be_empty: bool) -> None:
    """Check that a mask's alpha channel is opaque or shows the same object; else it is unclear which is the mask."""
    opaque, clear = alpha == 255, alpha == 0
    same = opaque.any() and (grey[opaque] > FOREGROUND_ABOVE).all() and not (grey[clear] > FOREGROUND_ABOVE).any()
    if alpha.min() >= OPAQUE or same or (np.array_equal(alpha, grey) and (may_be_empty or alpha.any())):
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
    """Threshold grey values (H, W) to 0 and 255; MaskError names ``path`` if they are labels."""
    binary: NDArray[np.uint8] = cv2.threshold(mask, above, 255, cv2.THRESH_BINARY)[1]
    if not binary.any() and mask.any():
        values = np.unique(mask)
        shown = ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
        raise MaskError(
            f"{path}: the mask's values are {shown}, none above {above}, so it has no foreground; "
            "masks must be 0 for background and 255 for object (for 0/1 labels: multiply by 255 and save again)"
        )
    return binary


def image_size(path: str | Stored) -> Size:
    """Read an image's size (height, width), as stored, from its header alone; a drawing has its image's upright.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the header cannot be read, or claims too many pixels.
    """
    with quiet_pillow():
        return read_header(Path(path) if isinstance(path, str) else path).size


def image_headers(paths: Sequence[Stored]) -> list[Header | ValueError | FileNotFoundError]:
    """Read the headers of many images with a pool of threads; an unreadable one has its error in the list."""

    def header_or_error(path: Stored) -> Header | ValueError | FileNotFoundError:
        try:
            return read_header(path)
        except (ValueError, FileNotFoundError) as error:
            return error

    def headers(start: int) -> list[Header | ValueError | FileNotFoundError]:
        return [header_or_error(path) for path in paths[start : start + NUM_AT_ONCE]]

    with quiet_pillow(), ThreadPoolExecutor(NUM_READERS) as pool:
        return list(chain.from_iterable(pool.map(headers, range(0, len(paths), NUM_AT_ONCE))))


def read_header(stored: Stored) -> Header:
    """Read a header, or check a drawing. Call it within `quiet_pillow`; errors as of `image_size`."""
    if isinstance(stored, Drawing):
        # Tools that annotate show the image upright.
        size = stored.size or (read_header(stored.image).upright if stored.image is not None else (1, 1))
        stored.check(size)
        return Header(size)
    with _opened(stored) as file:
        if png := plain_png_size(file.read(PNG_HEADER_BYTES)):
            return Header(check_size(*png, name_of(stored)))
        image = open_header(file, name_of(stored))
        size = check_size(image.height, image.width, name_of(stored))
        return Header(size, 1 if image.format == "TIFF" else orientation_of(image))


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened image; 1 without one."""
    # For a PNG without the tag in front, Pillow would decode the whole image to look for one behind the pixels.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        check_tags(image.info.get("exif", b""))  # a JPEG's are checked already
        tag = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a run never reads the metadata, so broken ones don't matter
        return 1
    return tag if isinstance(tag, int) and 2 <= tag <= 8 else 1


def read_bytes(path: Stored) -> bytes:
    """Read an image file's or item's content.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, too large or unreadable.
    """
    with _opened(path) as file:
        content = file.read()
    if not content:
        raise ValueError(f"{name_of(path)}: the file is empty; fetch it again or leave it out")
    return content


@contextmanager
def open_image(path: Stored) -> Iterator[Image.Image]:
    """Open an image with Pillow, which reads its header only. Call it within `quiet_pillow`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the header cannot be read.
    """
    with _opened(path) as file, open_header(file, name_of(path)) as image:
        yield image


@contextmanager
def _opened(path: Stored) -> Iterator[BufferedReader | BytesIO]:
    """Open a file of at most `MAX_BYTES`, and explain why it cannot be read."""
    if isinstance(path, Item):
        if not isinstance(path, Encoded):
            raise ValueError(f"{path.path}: no image")
        yield BytesIO(path.content())
        return
    try:
        with open_regular(path) as file:
            if (num_bytes := os.fstat(file.fileno()).st_size) > MAX_BYTES:
                raise ValueError(f"{path}: {num_bytes:,} bytes, above the limit of {MAX_BYTES:,}; leave it out")
            yield file
    except OSError as error:
        if is_absent(error):
            message = f"{path}: no such file; check the path, or that the dataset was unpacked completely"
            raise FileNotFoundError(message) from error
        if isinstance(error, PermissionError):
            raise ValueError(unreadable(path, error)) from error
        raise OSError(error.errno, error.strerror, str(path)) from error  # an error while reading has no path
