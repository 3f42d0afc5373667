"""Size limits, and image headers as Pillow reads them: a few kilobytes may unpack to gigabytes."""

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import SEEK_END, BufferedReader, BytesIO
from pathlib import Path
from threading import Lock
from typing import Any, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from ipsam.data.files import hxw

MAX_PIXELS = 100_000_000  # the field's images have a few million pixels, the largest cameras' a few dozen million
MAX_BYTES = 1 << 30
HEADER_READS = 10_000  # most headers take a hundred
HEADER_BYTES = 1 << 26  # read of a header beyond the file's size; most of WebP is read whole
EXIF, MPF = b"Exif\0\0", b"MPF\0"  # beginnings of a JPEG's segments of tags
MAX_EXIF = 100  # segments of 64 KB; one is usual, and previews may take a few more
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")  # WebP files are found under the name of a JPEG

Size = tuple[int, int]  # height, width

_lock = Lock()
_num_users = 0  # of `quiet_pillow`, in all threads
_restore = ExitStack()


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Switch off Pillow's warnings and its own size limit, for which `MAX_PIXELS` stands in.

    Both are settings of the whole process, so the last of several threads restores them.
    """
    global _num_users
    with _lock:
        _num_users += 1
        if _num_users == 1:
            _restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = None
            _restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _lock:
            _num_users -= 1
            if _num_users == 0:
                _restore.close()


class HeaderReader:
    """File whose header a library may read in bounded time and memory.

    Pillow reads a JPEG's fill bytes one by one, and what each of 65,535 tags of a TIFF refers to, be it the same bytes.
    """

    def __init__(self, file: BufferedReader | BytesIO) -> None:
        self._file = file
        self.is_bounded = True
        self._num_reads = self._num_bytes = 0
        self._exif: list[bytes] = []
        self._max_bytes = file.seek(0, SEEK_END) + HEADER_BYTES
        file.seek(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1, /) -> bytes:
        """Read as the file does; ValueError once this is more than a header."""
        content = self._file.read(size)
        if self.is_bounded:
            self._num_reads += 1
            self._num_bytes += len(content)
            if self._num_reads > HEADER_READS or self._num_bytes > self._max_bytes:
                raise ValueError("the header has no end")
            if content.startswith(EXIF):
                self._exif.append(content.removeprefix(EXIF))  # Pillow joins them
                check_tags(b"".join(self._exif))
            if content.startswith(MPF):
                check_tags(content.removeprefix(MPF))
            if len(self._exif) > MAX_EXIF:
                raise ValueError(f"it has more than {MAX_EXIF} segments of EXIF")
        return content


def check_tags(tags: bytes) -> None:
    """Check that tags, as in EXIF, refer to few bytes: Pillow copies for each what it refers to, be it the same bytes.

    Raises:
        ValueError: they refer to more than ``HEADER_BYTES``.
    """
    while tags.startswith(EXIF):
        tags = tags.removeprefix(EXIF)
    order = ">" if tags.startswith(b"MM") else "<"
    (first,) = np.frombuffer(tags[4:8].ljust(4, b"\0"), f"{order}u4").tolist()
    (num,) = np.frombuffer(tags[first : first + 2].ljust(2, b"\0"), f"{order}u2").tolist()
    entries = tags[first + 2 :][: 12 * num]
    counts = np.frombuffer(entries, f"{order}u4", len(entries) // 12 * 3)[1::3].astype(np.int64)
    if np.minimum(8 * counts, len(tags)).sum() > HEADER_BYTES:  # a value has up to 8 bytes
        raise ValueError("its tags refer to the same bytes again and again")


def open_header(file: BufferedReader | BytesIO, path: Path) -> Image.Image:
    """Open an image with Pillow, which reads the header only. Call it within `quiet_pillow`.

    Raises:
        ValueError: the header cannot be read; it names ``path``.
    """
    reader = HeaderReader(file)
    try:
        image = Image.open(cast(BufferedReader, reader), formats=FORMATS)  # noqa: TID251 (the one way)
        reader.is_bounded = False
        return image
    except Exception as error:
        raise unreadable_header(path, error) from error


def check_size(height: int, width: int, path: Path) -> Size:
    """Return (height, width) unless that is more than `MAX_PIXELS`; ValueError names ``path``."""
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{path}: {hxw((height, width))} pixels (height x width), above the limit of {MAX_PIXELS // 10**6} million "
            "in all; scale it down or leave it out"
        )
    return height, width


def unreadable_header(path: Path, error: Exception) -> ValueError:
    """Build the error for a header that Pillow cannot read."""
    return ValueError(f"{path}: the image header can't be read ({reason(error)}); fetch the file again or leave it out")


def reason(error: Exception) -> str:
    """Summarise an image library's error in one line: Pillow raises OSError, SyntaxError, struct.error and others."""
    if isinstance(error, UnidentifiedImageError):
        return f"none of {', '.join(FORMATS)}"
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
