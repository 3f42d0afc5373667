"""What an image file promises, looked at before OpenCV decodes it: kilobytes may unpack to gigabytes, or take hours."""

import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from ipsam.data.files import hxw

MAX_PIXELS = 100_000_000  # the field's images have a few million, the largest cameras' a few dozen
MAX_BYTES = 1 << 30
MAX_SCANS = 100  # a progressive JPEG has about ten; every one goes over the whole image
MAX_SEGMENTS = 10_000  # of a JPEG; most have about ten
MAX_PAGES = 10_000  # of a TIFF that are counted
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # the last one is met under the name of a JPEG
CHECKED_BY_OPENCV = ("JPEG", "MPO", "PNG")  # in the others it fills up what is damaged or missing, and says nothing
TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
TIFF_SIZES = (257, 256, 323, 322)  # tags of height and width, of a page and of its tiles
TIFF_SAMPLE_FORMAT, TIFF_FLOAT = 339, 3
JPEG_BEGIN, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
JPEG_SEQUENTIAL = (b"\xc0", b"\xc1", b"\xc9")  # frames whose scans hold their components whole
PNG_BEGIN, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"

Size = tuple[int, int]


_lock = Lock()
_users = 0  # of ``quiet_pillow``, in all threads
_as_before = ExitStack()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Pillow without its warnings, and without its own limit.

    It warns of large images ("decompression bomb") and of odd metadata; neither matters where ``MAX_PIXELS`` is kept.
    Both are settings of the whole process: the last of several threads puts them back.
    """
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _as_before.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
            _as_before.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _as_before.close()


def open_header(file: Path | BytesIO, path: Path) -> Image.Image:
    """A picture as Pillow opens it, its header read and no more. Call it within ``quiet_pillow``.

    Raises:
        ValueError: the header can't be read; ``path`` is for the message.
        FileNotFoundError, PermissionError: the file can't be read.
    """
    try:
        return Image.open(file, formats=FORMATS)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        raise _unreadable(path, error) from error


def check_size(height: int, width: int, path: Path) -> Size:
    """See that a picture has at most ``MAX_PIXELS``; returns its size.

    Raises:
        ValueError: it has more; with ``path``.
    """
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{path}: {hxw((height, width))} pixels (height x width), above the limit of {MAX_PIXELS // 10**6} million "
            "in all; scale it down or leave it out"
        )
    return height, width


def check_content(content: bytes, path: Path, *, single: str = "") -> Size:
    """Size (height, width) of an image file's content that can be decoded in bounded time and memory.

    Args:
        content: of the file.
        path: for messages.
        single: what the only page is, such as "mask"; empty where further pages may be passed over.

    Raises:
        ValueError: it can't; or its header can't be read, its pixels are damaged, or OpenCV would take its colours for
            others; or it has several pages where ``single`` is given.
    """
    if content.startswith(JPEG_BEGIN):
        try:
            _check_scans(content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; save it again") from error
    with quiet_pillow():
        size_of_floats = _check_tiff(content, path) if content.startswith(TIFF_BEGINNINGS) else None
        if single and content.startswith(TIFF_BEGINNINGS):
            _check_pages(_num_pages(content), "TIFF", single, path)
        try:
            image = open_header(BytesIO(content), path)
        except ValueError:
            if size_of_floats is None:
                raise
            return size_of_floats
        with image:
            size = check_size(image.height, image.width, path)
            if image.mode == "LAB":
                raise ValueError(f"{path}: in CIELAB, which would be taken for RGB; save it as RGB")
            if single and image.format != "TIFF":
                _check_pages(getattr(image, "n_frames", 1), image.format, single, path)
            if image.format not in CHECKED_BY_OPENCV:
                _decode(image, path)
    return size


def is_cut_off(content: bytes) -> bool:
    """Whether a JPEG or PNG has lost its end.

    Older versions of OpenCV fill up such a JPEG with grey; of a PNG it makes room for as many bytes as a chunk claims.
    Call it on what ``check_content`` has passed.
    """
    if content.startswith(PNG_BEGIN):
        at = len(PNG_BEGIN)
        while content[at + 4 : at + 8] not in (PNG_END, b""):  # a chunk: length, kind, content, checksum
            at += 12 + int.from_bytes(content[at : at + 4], "big")
        return content[at + 4 : at + 8] != PNG_END
    if not content.startswith(JPEG_BEGIN):
        return False
    first_scan = next((at for marker, at in _markers(content) if marker == JPEG_SCAN[1:]), 0)
    return content.rfind(JPEG_END, first_scan) < 0


def reason(error: Exception) -> str:
    """An image library's error in one line; Pillow's readers raise OSError, SyntaxError, struct.error and others."""
    if isinstance(error, UnidentifiedImageError):
        return f"none of {', '.join(FORMATS)}"
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"


def _check_tiff(content: bytes, path: Path) -> Size | None:
    """Size of a TIFF's first page if it holds floats, for some of which Pillow has no mode; else None.

    Its tiles have limits as well, as room is made for a whole one.
    """
    file = BytesIO(content)
    try:
        tags = _tiff_tags(file)
        file.seek(tags.next)
        tags.load(file)
        height, width, tile_height, tile_width = (int(tags.get(tag, 0)) for tag in TIFF_SIZES)
        holds_floats = set(tags.get(TIFF_SAMPLE_FORMAT, ())) == {TIFF_FLOAT}
    except Exception as error:
        raise _unreadable(path, error) from error
    check_size(tile_height, tile_width, path)
    return check_size(height, width, path) if holds_floats else None


def _tiff_tags(file: BytesIO) -> TiffImagePlugin.ImageFileDirectory_v2:
    """The tags of a TIFF before any page is read: ``next`` is the first page's place."""
    beginning = file.read(8)
    return TiffImagePlugin.ImageFileDirectory_v2(beginning + (file.read(8) if b"+" in beginning[2:4] else b""))


def _num_pages(content: bytes) -> int:
    """Count the pages of a TIFF until one is broken or a place comes again."""
    file, places = BytesIO(content), set[int]()
    with suppress(Exception):
        tags = _tiff_tags(file)
        while (place := tags.next) and place not in places and len(places) < MAX_PAGES:
            file.seek(place)
            tags.load(file)
            if TIFF_SIZES[1] not in tags:
                break
            places.add(place)
    return len(places)


def _check_pages(number: int, kind: str | None, single: str, path: Path) -> None:
    if number > 1:
        raise ValueError(f"{path}: a {kind} of {number} pages, not one {single}; save each page as a file of its own")


def _decode(image: Image.Image, path: Path) -> None:
    try:
        image.load()
    except Exception as error:
        raise ValueError(f"{path}: broken ({reason(error)}); fetch the file again or leave it out") from error


def _check_scans(content: bytes) -> None:
    """See that a JPEG has at most ``MAX_SCANS``; a thumbnail's, in the segments before the first, do not count."""
    num_components, num_scans = b"", 0
    for marker, at in _markers(content):
        if marker in JPEG_SEQUENTIAL:
            num_components = content[at + 7 : at + 8]
        elif marker == JPEG_END[1:]:
            return
        elif marker == JPEG_SCAN[1:]:
            num_scans += 1
            if num_scans == 1 and (num_components == content[at + 2 : at + 3] != b"" or _may_have_few(content[at:])):
                return  # where it has all components, and them whole, libjpeg takes no other
            if num_scans > MAX_SCANS:
                raise ValueError(f"a JPEG of more than {MAX_SCANS} scans")


def _may_have_few(content: bytes) -> bool:
    """Whether what looks like scans is not too many: so in nearly all files, and told in no time."""
    values = np.frombuffer(content, np.uint8)
    return bool(np.count_nonzero(values[1:][values[:-1] == JPEG_SCAN[0]] == JPEG_SCAN[1]) < MAX_SCANS)


def _markers(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Kinds of a JPEG's markers, each with the place behind it, as libjpeg comes to them.

    It passes over the content of segments and whatever else is no marker. Those without a segment are left out, but for
    the end.

    Raises:
        ValueError: there are more than ``MAX_SEGMENTS``.
    """
    at = len(JPEG_BEGIN)
    for _ in range(MAX_SEGMENTS):
        found = JPEG_MARKER.search(content, at)
        if found is None:
            return
        yield found[1], found.end()
        at = found.end() + max(2, int.from_bytes(content[found.end() : found.end() + 2], "big"))
    raise ValueError(f"a JPEG of more than {MAX_SEGMENTS:,} segments")


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: the image header can't be read ({reason(error)}); fetch the file again or leave it out")
