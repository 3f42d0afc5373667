"""What an image file promises, looked at before OpenCV decodes it: kilobytes may unpack to gigabytes, or take hours."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from ipsam.data.files import hxw

MAX_PIXELS = 100_000_000  # the field's images have a few million, the largest cameras' a few dozen
MAX_BYTES = 1 << 30
MAX_SCANS = 100  # a progressive JPEG has about ten; every one goes over the whole image
MAX_SEGMENTS = 10_000  # before a JPEG's first scan; most have about ten
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # the last one is met under the name of a JPEG
CHECKED_BY_OPENCV = ("JPEG", "MPO", "PNG")  # in the others it fills up what is damaged or missing, and says nothing
TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
TIFF_SIZES = (257, 256, 323, 322)  # tags of height and width, of a page and of its tiles
TIFF_SAMPLE_FORMAT, TIFF_FLOAT = 339, 3
JPEG_BEGIN, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
JPEG_SEQUENTIAL = (b"\xff\xc0", b"\xff\xc1", b"\xff\xc9")  # beginnings of a frame
JPEG_ALONE = tuple(bytes((0xFF, code)) for code in (0x00, 0x01, *range(0xD0, 0xDA)))  # markers without a segment
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


def check_content(content: bytes, path: Path) -> Size:
    """Size (height, width) of an image file's content that can be decoded in bounded time and memory.

    Raises:
        ValueError: it can't; or its header can't be read, its pixels are damaged, or OpenCV would take its colours for
            others.
    """
    if content.startswith(JPEG_BEGIN) and (num_scans := _num_scans(content, path)) > MAX_SCANS:
        raise ValueError(f"{path}: a JPEG of {num_scans} scans, above the limit of {MAX_SCANS}; save it again")
    with quiet_pillow():
        size_of_floats = _check_tiff(content, path) if content.startswith(TIFF_BEGINNINGS) else None
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
            if image.format not in CHECKED_BY_OPENCV:
                _decode(image, path)
    return size


def is_cut_off(content: bytes, path: Path) -> bool:
    """Whether a JPEG or PNG has lost its end.

    Older versions of OpenCV fill up such a JPEG with grey; of a PNG it makes room for as many bytes as a chunk claims.
    Call it on what ``check_content`` has passed; ``path`` is for messages.
    """
    if content.startswith(PNG_BEGIN):
        at = len(PNG_BEGIN)
        while content[at + 4 : at + 8] not in (PNG_END, b""):  # a chunk: length, kind, content, checksum
            at += 12 + int.from_bytes(content[at : at + 4], "big")
        return content[at + 4 : at + 8] != PNG_END
    return content.startswith(JPEG_BEGIN) and content.rfind(JPEG_END, _first_scan(content, path)[0]) < 0


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
        tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(16 if b"+" in content[2:4] else 8))
        file.seek(tags.next)
        tags.load(file)
        height, width, tile_height, tile_width = (int(tags.get(tag, 0)) for tag in TIFF_SIZES)
        holds_floats = set(tags.get(TIFF_SAMPLE_FORMAT, ())) == {TIFF_FLOAT}
    except Exception as error:
        raise _unreadable(path, error) from error
    check_size(tile_height, tile_width, path)
    return check_size(height, width, path) if holds_floats else None


def _decode(image: Image.Image, path: Path) -> None:
    try:
        image.load()
    except Exception as error:
        raise ValueError(f"{path}: broken ({reason(error)}); fetch the file again or leave it out") from error


def _num_scans(content: bytes, path: Path) -> int:
    """Scans of a JPEG, from the first to its end marker; a thumbnail's, in the segments before, do not count."""
    begin, num_components = _first_scan(content, path)
    if num_components and content[begin : begin + 5] == JPEG_SCAN + content[begin + 2 : begin + 4] + num_components:
        return 1  # of all components, each whole: libjpeg takes no other then
    values = np.frombuffer(content, np.uint8)[begin:]
    most = int(np.count_nonzero(values[1:][values[:-1] == JPEG_SCAN[0]] == JPEG_SCAN[1]))  # enough for nearly all files
    return most if most <= MAX_SCANS else content.count(JPEG_SCAN, begin, max(begin, content.find(JPEG_END, begin)))


def _first_scan(content: bytes, path: Path) -> tuple[int, bytes]:
    """Where the first scan of a JPEG begins, or what is no segment; and the byte that tells how many components it has.

    That byte is empty unless the JPEG is sequential, that is, unless each scan holds its components whole.
    """
    at, num_components = len(JPEG_BEGIN), b""
    for _ in range(MAX_SEGMENTS):
        marker = content[at : at + 2]
        if marker[:1] != b"\xff" or marker == JPEG_SCAN:
            return at, num_components
        if marker in JPEG_SEQUENTIAL:
            num_components = content[at + 9 : at + 10]
        if marker == b"\xff\xff":  # any number of these bytes may stand before a marker
            at += 1
        elif marker in JPEG_ALONE:
            at += 2
        else:  # a segment: marker, length, content
            at += 2 + max(2, int.from_bytes(content[at + 2 : at + 4], "big"))
    raise ValueError(f"{path}: a JPEG of more than {MAX_SEGMENTS:,} segments before its first scan; save it again")


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: the image header can't be read ({reason(error)}); fetch the file again or leave it out")
