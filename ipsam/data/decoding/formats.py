"""Checks on JPEG, PNG and TIFF files that Pillow and OpenCV leave out."""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple, cast

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ipsam.data.decoding.limits import HeaderReader, Size, unreadable_header

JPEG_BEGIN, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")
MAX_SCANS = 100  # a progressive JPEG has about ten; the decoder passes over the whole image for each
MAX_CHUNKS = 150_000  # of a PNG; they usually have 8 KB, so that a gigabyte has fewer
MAX_SEGMENTS = 10_000  # most JPEGs have about ten
PNG_BEGIN, PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
PNG_PIXELS = b"IDAT"
PNG_KINDS = {(8, 0), (8, 2), (8, 4), (8, 6), (16, 0)}  # bit depth and colour type: grey, RGB, with alpha
PNG_HEADER = {b"IHDR": 13, b"sRGB": 1, b"gAMA": 4, b"pHYs": 9, b"cHRM": 32}  # bytes of the chunks of a plain header
PNG_HEADER_BYTES = 256  # that hold a plain header
TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF's
MAX_PAGES = 100  # thumbnails before a second page of a TIFF
TIFF_SUBFILE_TYPE = 254
TIFF_SIZES = (257, 256, 323, 322)  # tags: height and width of the page, then of its tiles
TIFF_SAMPLE_FORMAT, TIFF_FLOAT = 339, 3


def plain_png_size(content: bytes) -> Size | None:
    """Read the size of a PNG whose header is plain and intact, without Pillow; None if it is not."""
    content = content[:PNG_HEADER_BYTES]
    if not content.startswith(PNG_BEGIN + b"\0\0\0\rIHDR"):
        return None
    at = len(PNG_BEGIN)
    while (kind := content[at + 4 : at + 8]) != PNG_PIXELS:
        if kind not in PNG_HEADER:
            return None
        end = at + 8 + PNG_HEADER[kind]
        length, checksum = content[at : at + 4], content[end : end + 4]
        expected = PNG_HEADER[kind], zlib.crc32(content[at + 4 : end])
        if (length, checksum) != tuple(number.to_bytes(4, "big") for number in expected):
            return None
        at = end + 4
    width, height, depth, colours, *methods = struct.unpack_from(">IIBBBBB", content, len(PNG_BEGIN) + 8)
    is_plain = width and height and (depth, colours) in PNG_KINDS and methods in ([0, 0, 0], [0, 0, 1])
    return (height, width) if is_plain else None


def check_jpeg(content: bytes, path: Path) -> None:
    """Check that a JPEG has at most `MAX_SCANS` and `MAX_SEGMENTS`; ValueError names ``path``."""
    has_few_scans = content.count(JPEG_SCAN) <= MAX_SCANS
    num_scans = 0
    for number, (marker, _) in enumerate(_jpeg_markers(content)):
        num_scans += marker == JPEG_SCAN
        if num_scans > MAX_SCANS or number > MAX_SEGMENTS:
            limit = f"{MAX_SCANS} scans" if num_scans > MAX_SCANS else f"{MAX_SEGMENTS:,} segments"
            raise ValueError(f"{path}: a JPEG of more than {limit}; save it again")
        if marker == JPEG_END or (num_scans and has_few_scans):  # behind the end may be a telephone's video
            return


def is_cut_off(content: bytes) -> bool:
    """Tell whether a JPEG or PNG has lost its end, or lies beyond `MAX_CHUNKS`.

    Some versions of OpenCV fill such a JPEG up with grey. For a PNG it allocates as many bytes as a chunk claims. Call
    this after `check_jpeg` only, which bounds the time.
    """
    if content.startswith(PNG_BEGIN):
        at = len(PNG_BEGIN)
        for _ in range(MAX_CHUNKS):
            if content[at + 4 : at + 8] in (PNG_END, b""):  # of a chunk: length, kind, content, checksum
                return content[at + 4 : at + 8] != PNG_END
            at += 12 + int.from_bytes(content[at : at + 4], "big")
        return True
    if not content.startswith(JPEG_BEGIN):
        return False
    # A thumbnail in the metadata, before the first scan, has an end of its own.
    first_scan = next((at for marker, at in _jpeg_markers(content) if marker == JPEG_SCAN), 0)
    return content.rfind(JPEG_END, first_scan) < 0


def _jpeg_markers(content: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield a JPEG's markers with the position behind each, as libjpeg finds them.

    Segments are skipped by their length, and pixels up to the next marker.
    """
    at = len(JPEG_BEGIN)
    while found := JPEG_MARKER.search(content, at):
        yield found[0], found.end()
        at = found.end() + max(2, int.from_bytes(content[found.end() : found.end() + 2], "big"))


class TiffPage(NamedTuple):
    """First page of a TIFF, from its tags."""

    size: Size
    tile: Size  # (0, 0) without tiles
    holds_floats: bool
    has_successor: bool


def read_tiff(content: bytes, path: Path) -> TiffPage:
    """Read the tags of a TIFF's first page; ValueError names ``path`` if they are broken."""
    file = HeaderReader(BytesIO(content))
    try:
        beginning = file.read(8)
        tags = ImageFileDirectory_v2(beginning + (file.read(8) if b"+" in beginning[2:4] else b""))
        first = tags.next
        _load(tags, file)
        height, width, tile_height, tile_width = (int(tags.get(tag, 0)) for tag in TIFF_SIZES)
        holds_floats = set(tags.get(TIFF_SAMPLE_FORMAT, ())) == {TIFF_FLOAT}
    except Exception as error:
        raise unreadable_header(path, error) from error
    has_successor, seen = False, {0, first}
    with suppress(Exception):  # a broken further page does not count
        while tags.next not in seen and len(seen) < MAX_PAGES and not has_successor:
            seen.add(tags.next)
            _load(tags, file)
            is_reduced = int(tags.get(TIFF_SUBFILE_TYPE, 0)) & 1  # a thumbnail or an overview
            has_successor = TIFF_SIZES[1] in tags and not is_reduced
    return TiffPage((height, width), (tile_height, tile_width), holds_floats, has_successor)


def _load(tags: ImageFileDirectory_v2, file: HeaderReader) -> None:
    file.seek(tags.next)
    tags.load(cast(IO[bytes], file))
