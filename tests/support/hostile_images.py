"""Image files that would take gigabytes or hours if they were believed."""

import struct
import zlib
from collections.abc import Callable

from support.image_files import colours, encoder


def chunk(kind: bytes, content: bytes) -> bytes:
    """One of a PNG's parts."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, data: bytes = b"", *, bits: int = 1, extra: bytes = b"") -> bytes:
    """A grey PNG of this header, with this content, compressed already."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    """A header of a BMP without pixels."""
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def tiff(
    width: int,
    height: int,
    data: bytes = b"",
    *,
    pages: int = 1,
    claimed: int | None = None,
    last: int = 0,
    tile: int | None = None,
    bits: int = 8,
) -> bytes:
    """A grey TIFF, all its pages of the same deflated content.

    Args:
        width, height: of each page.
        data: the content.
        pages: how many.
        claimed: bytes of content by the header; None: as many as there are.
        last: number of the page that the last one names as the next; 0 names none, and the first is number 1.
        tile: side of the one tile that the content is; None: it is a strip.
        bits: of a pixel.
    """
    num_bytes = len(data) if claimed is None else claimed
    tags = {256: width, 257: height, 258: bits, 259: 8, 262: 1, 277: 1}
    tags |= {273: 8, 278: height, 279: num_bytes} if tile is None else {322: tile, 323: tile, 324: 8, 325: num_bytes}
    start, size = 8 + len(data), 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    places = [start + (number - 1) * size if number else 0 for number in (*range(2, pages + 1), last)]
    directories = (struct.pack("<H", len(tags)) + entries + struct.pack("<I", place) for place in places)
    return b"II*\0" + struct.pack("<I", start) + data + b"".join(directories)


def jpeg_of_size(width: int, height: int) -> bytes:
    """A whole JPEG whose header says another size."""
    content = bytearray(encoder("JPEG")(colours()))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def webp_of_size(width: int, height: int) -> bytes:
    """A whole WebP whose header says another size."""
    content = bytearray(encoder("WEBP")(colours()))
    at = content.index(b"\x9d\x01\x2a") + 3
    content[at : at + 4] = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
    return bytes(content)


def jpeg_of_scans(number: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    content = encoder("JPEG", progressive=True)(colours())
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + number * scan + content[-2:]


def sequential_jpeg_of_scans(number: int) -> bytes:
    """The same of a JPEG whose first scan holds all."""
    content = encoder("JPEG")(colours())
    return content[:-2] + number * content[content.index(b"\xff\xda") : -2] + content[-2:]


def jpeg_of_scans_in_disguise(number: int) -> bytes:
    """A progressive one whose comment looks like a sequential frame to who takes 0xFF 0xFF for a marker."""
    content = jpeg_of_scans(number)
    disguise = b"\xff\xc0\0\x11\x08\0\x40\0\x40\3" + bytes(9) + b"\xff\xda\0\x0c\3"
    skipped = 4 + 0xFEFF - 7  # of the comment, by who reads 0xFEFF for the length
    return content[:2] + b"\xff\xff\xfe\xff\xff" + (bytes(skipped) + disguise).ljust(0xFFFD, b"\0") + content[2:]


def jpeg_of_scans_behind_an_end(number: int, begin: bytes = b"") -> bytes:
    """A progressive one, with an end marker in a comment: behind its beginning, or behind its first scan's header."""
    content, comment = jpeg_of_scans(number), b"\xff\xfe\0\4\xff\xd9"
    at = 2 if begin else content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    return content[:at] + begin + comment + content[at:]


def bomb(side: int, *, bits: int = 1) -> bytes:
    """A PNG of few kilobytes: ``side`` x ``side`` black pixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side * bits // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png(side, side, data, bits=bits)


def png_with(kind: bytes) -> bytes:
    """A PNG with metadata that unpack to 30 MB."""
    return png(8, 8, zlib.compress(bytes(16)), extra=chunk(kind, b"a\0\0" + zlib.compress(bytes(30_000_000))))


HEADERS = {"png": png, "jpeg": jpeg_of_size, "bmp": bmp, "tiff": tiff, "webp": webp_of_size}
HOSTILE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "one byte": lambda: b"\x89",
    "text": lambda: b"<html>404</html>",
    "zeros": lambda: bytes(1000),
    "a bomb of 900 million pixels": lambda: bomb(30_000),
    "a bomb of 150 million bytes": lambda: bomb(12_250, bits=8),
    "more content than pixels": lambda: png(4, 4, zlib.compress(bytes(30_000_000))),
    "a text that unpacks to 30 MB": lambda: png_with(b"zTXt"),
    "a profile that unpacks to 30 MB": lambda: png_with(b"iCCP"),
    "5,000 scans": lambda: jpeg_of_scans(5000),
    "5,000 scans in disguise": lambda: jpeg_of_scans_in_disguise(5000),
    "5,000 scans behind what is no end": lambda: jpeg_of_scans_behind_an_end(5000),
    "5,000 scans behind a stray byte": lambda: jpeg_of_scans_behind_an_end(5000, begin=b"\0"),
    "5,000 scans where one is all": lambda: sequential_jpeg_of_scans(5000),
    "a JPEG of 2 million segments": lambda: b"\xff\xd8" + 2_000_000 * b"\xff\xe0\0\2" + encoder("JPEG")(colours())[2:],
    "a JPEG that begins with a million bytes 0xFF": lambda: b"\xff\xd8" + bytes([255]) * 1_000_000,
    "a TIFF of 2,000 pages": lambda: tiff(1000, 1000, zlib.compress(bytes(1_000_000)), pages=2000),
    "a TIFF whose page follows itself": lambda: tiff(9, 9, zlib.compress(bytes(81)), pages=3, last=2),
    "a TIFF whose strip is not there": lambda: tiff(300, 300, claimed=2**32 - 1),
    "a TIFF of more content than pixels": lambda: tiff(9, 9, zlib.compress(bytes(30_000_000))),
    "a TIFF of a tile of 900 million pixels": lambda: tiff(9, 9, zlib.compress(bytes(81)), tile=30_000),
    "the same of floats": lambda: tiff(9, 9, zlib.compress(bytes(81)), tile=30_000, bits=64),
    "a PNG whose part claims 2 GB": lambda: png(8, 8).replace(bytes(4) + b"IDAT", b"\x7f\xff\xff\xffIDAT"),
    "a TIFF in CIELAB": lambda: encoder("TIFF", "LAB")(colours()),
    "a GIF": lambda: b"GIF89a" + bytes(100),
    "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(canary) run\n",
    "an SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
}
