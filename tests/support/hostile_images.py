"""Image files that would take gigabytes or hours if a reader trusted them."""

import struct
import zlib
from collections.abc import Callable

from support.image_files import colours, encoder


def chunk(kind: bytes, content: bytes) -> bytes:
    """Build a PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, data: bytes = b"", *, bits: int = 1, extra: bytes = b"") -> bytes:
    """Build a grey PNG from a header and compressed content."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    """Build a BMP header without pixels."""
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)


def tiff_of_tags(number: int, megabytes: int) -> bytes:
    """Build a TIFF whose tags all refer to the same bytes."""
    content = bytes(megabytes << 20)
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 8, 278: 8, 279: 64}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    entries += b"".join(struct.pack("<HHII", 40_000 + tag, 1, len(content), 8) for tag in range(number))
    start, directory = struct.pack("<I", 8 + len(content)), struct.pack("<H", len(tags) + number)
    return b"II*\0" + start + content + directory + entries + bytes(4)


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
    """Build a grey TIFF whose pages all have the same deflated content.

    Args:
        width, height: of each page.
        data: the content.
        pages: number of pages.
        claimed: bytes of content in the header; None: the true number.
        last: number of the page, from 1, that the last page names as the next; 0 names none.
        tile: side of a single tile; None: the content is a strip.
        bits: bits of a pixel.
    """
    num_bytes = len(data) if claimed is None else claimed
    tags = {256: width, 257: height, 258: bits, 259: 8, 262: 1, 277: 1}
    tags |= {273: 8, 278: height, 279: num_bytes} if tile is None else {322: tile, 323: tile, 324: 8, 325: num_bytes}
    start, size = 8 + len(data), 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    offsets = [start + (number - 1) * size if number else 0 for number in (*range(2, pages + 1), last)]
    directories = (struct.pack("<H", len(tags)) + entries + struct.pack("<I", offset) for offset in offsets)
    return b"II*\0" + struct.pack("<I", start) + data + b"".join(directories)


def jpeg_of_size(width: int, height: int) -> bytes:
    """Build a whole JPEG with another size in its header."""
    content = bytearray(encoder("JPEG")(colours()))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def webp_of_size(width: int, height: int) -> bytes:
    """Build a whole WebP with another size in its header."""
    content = bytearray(encoder("WEBP")(colours()))
    at = content.index(b"\x9d\x01\x2a") + 3
    content[at : at + 4] = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
    return bytes(content)


def exif_of_tags(number: int, num_bytes: int) -> bytes:
    """Build EXIF data whose tags all refer to the same bytes."""
    entries = b"".join(struct.pack("<HHII", 1 + tag, 7, num_bytes - 8, 8) for tag in range(number))
    content = b"II*\0" + struct.pack("<IH", 8, number) + entries + bytes(4)
    return content.ljust(num_bytes, b"x")


def jpeg_of_tags(start: bytes, number: int, num_segments: int) -> bytes:
    """Build a JPEG with such data in segments that begin with ``start``."""
    tags, size = exif_of_tags(number, 65_000 * num_segments), 65_000
    parts = [start + tags[at : at + size] for at in range(0, len(tags), size)]
    content = encoder("JPEG")(colours())
    marker = b"\xff\xe1" if start == b"Exif\0\0" else b"\xff\xe2"
    return content[:2] + b"".join(marker + struct.pack(">H", len(part) + 2) + part for part in parts) + content[2:]


def jpeg_of_scans(number: int) -> bytes:
    """Repeat the last scan of a progressive JPEG."""
    content = encoder("JPEG", progressive=True)(colours())
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + number * scan + content[-2:]


def sequential_jpeg_of_scans(number: int) -> bytes:
    """Repeat the only scan of a sequential JPEG."""
    content = encoder("JPEG")(colours())
    return content[:-2] + number * content[content.index(b"\xff\xda") : -2] + content[-2:]


def jpeg_of_scans_in_disguise(number: int) -> bytes:
    """Add a comment that looks like a sequential frame to readers that take 0xFF 0xFF for a marker."""
    content = jpeg_of_scans(number)
    disguise = b"\xff\xc0\0\x11\x08\0\x40\0\x40\3" + bytes(9) + b"\xff\xda\0\x0c\3"
    skipped = 4 + 0xFEFF - 7  # bytes of the comment, for readers that take 0xFEFF for its length
    return content[:2] + b"\xff\xff\xfe\xff\xff" + (bytes(skipped) + disguise).ljust(0xFFFD, b"\0") + content[2:]


def jpeg_of_scans_behind_an_end(number: int, begin: bytes = b"") -> bytes:
    """Put a comment that holds an end marker behind ``begin`` at the start, or behind the first scan's header."""
    content, comment = jpeg_of_scans(number), b"\xff\xfe\0\4\xff\xd9"
    at = 2 if begin else content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    return content[:at] + begin + comment + content[at:]


def bomb(side: int, *, bits: int = 1) -> bytes:
    """Build a PNG of a few kilobytes with ``side`` x ``side`` black pixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side * bits // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    return png(side, side, data, bits=bits)


def png_with(kind: bytes) -> bytes:
    """Build a PNG with metadata that unpack to 30 MB."""
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
    "5,000 scans behind an end in a comment": lambda: jpeg_of_scans_behind_an_end(5000),
    "5,000 scans behind a stray byte": lambda: jpeg_of_scans_behind_an_end(5000, begin=b"\0"),
    "5,000 scans of a sequential JPEG": lambda: sequential_jpeg_of_scans(5000),
    "a JPEG of 200,000 segments": lambda: b"\xff\xd8" + 200_000 * b"\xff\xe0\0\2" + encoder("JPEG")(colours())[2:],
    "a JPEG that begins with a million bytes 0xFF": lambda: b"\xff\xd8" + bytes([255]) * 1_000_000,
    "a JPEG of fill bytes": lambda: b"\xff\xd8" + bytes([255]) * 2_000_000 + encoder("JPEG")(colours())[2:],
    "fill bytes behind a segment": lambda: encoder("JPEG")(colours()).replace(
        b"\xff\xdb", b"\xff" * 2_000_000 + b"\xdb", 1
    ),
    "a PNG of 200,000 chunks": lambda: png(8, 8, zlib.compress(bytes(16)), extra=chunk(b"teXt", b"") * 200_000),
    "200,000 chunks behind the pixels": lambda: png(8, 8, zlib.compress(bytes(16))).replace(
        chunk(b"IEND", b""), chunk(b"teXt", b"") * 200_000
    ),
    "a JPEG of 1,000 tags of the same megabyte": lambda: jpeg_of_tags(b"Exif\0\0", 1000, 20),
    "a JPEG of 5,000 tags of an index of previews": lambda: jpeg_of_tags(b"MPF\0", 5000, 1),
    "a PNG of 500 tags of the same megabyte": lambda: png(
        8, 8, zlib.compress(bytes(16)), extra=chunk(b"eXIf", exif_of_tags(500, 1 << 20))
    ),
    "a TIFF of 1,500 tags of the same bytes": lambda: tiff_of_tags(1500, 4),
    "a TIFF of 2,000 pages": lambda: tiff(1000, 1000, zlib.compress(bytes(1_000_000)), pages=2000),
    "a TIFF whose page follows itself": lambda: tiff(9, 9, zlib.compress(bytes(81)), pages=3, last=2),
    "a TIFF whose strip is missing": lambda: tiff(300, 300, claimed=2**32 - 1),
    "a TIFF with more content than pixels": lambda: tiff(9, 9, zlib.compress(bytes(30_000_000))),
    "a TIFF of a tile of 900 million pixels": lambda: tiff(9, 9, zlib.compress(bytes(81)), tile=30_000),
    "a tile of 900 million floats": lambda: tiff(9, 9, zlib.compress(bytes(81)), tile=30_000, bits=64),
    "a PNG whose chunk claims 2 GB": lambda: png(8, 8).replace(bytes(4) + b"IDAT", b"\x7f\xff\xff\xffIDAT"),
    "a TIFF in CIELAB": lambda: encoder("TIFF", "LAB")(colours()),
    "a GIF": lambda: b"GIF89a" + bytes(100),
    "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(canary) run\n",
    "an SVG": lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
}
