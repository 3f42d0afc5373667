"""Image files of all kinds in use, as bytes, and an independent decoder."""

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

HEIGHT, WIDTH = 40, 56
JPEG = b"\xff\xd8"

Encoder = Callable[[Image.Image], bytes]


def colours() -> Image.Image:
    """Draw smooth colours with a little noise."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    noise = np.random.default_rng(0).integers(0, 20, (HEIGHT, WIDTH, 3))
    return Image.fromarray((np.stack([4 * x, 5 * y, 2 * (x + y)], -1) + noise).astype(np.uint8))


def blob() -> Image.Image:
    """Draw a mask: 255 on a disc, else 0."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return Image.fromarray((((y - 18) ** 2 + (x - 25) ** 2 < 150) * 255).astype(np.uint8))


def encoder(kind: str, mode: str | None = None, **options: Any) -> Encoder:
    def encode(image: Image.Image) -> bytes:
        file = io.BytesIO()
        (image if mode is None else image.convert(mode)).save(file, kind, **options)
        return file.getvalue()

    return encode


def _with_thumbnail(image: Image.Image) -> bytes:
    """Encode a JPEG with a thumbnail in its metadata, which has an end marker of its own."""
    small = encoder("JPEG")(image.resize((14, 10)))
    return encoder("JPEG", exif=b"Exif\0\0" + small)(image)


ENCODERS: dict[str, Encoder] = {
    "png": encoder("PNG"),
    "png-grey": encoder("PNG", "L"),
    "png-grey-alpha": encoder("PNG", "LA"),
    "png-rgba": encoder("PNG", "RGBA"),
    "png-palette": encoder("PNG", "P"),
    "png-one-bit": encoder("PNG", "1"),
    "jpeg": encoder("JPEG", quality=95),
    "jpeg-grey": encoder("JPEG", "L"),
    "jpeg-cmyk": encoder("JPEG", "CMYK"),
    "jpeg-progressive": encoder("JPEG", progressive=True),
    "jpeg-thumbnail": _with_thumbnail,
    "bmp": encoder("BMP"),
    "bmp-palette": encoder("BMP", "P"),
    "tiff": encoder("TIFF"),
    "tiff-lzw": encoder("TIFF", compression="tiff_lzw"),
    "tiff-deflate": encoder("TIFF", compression="tiff_deflate"),
    "tiff-cmyk": encoder("TIFF", "CMYK"),
    "webp": encoder("WEBP", lossless=True),
}


def reference(content: bytes, mode: str) -> NDArray[np.uint8] | None:
    """Decode with Pillow as RGB (H, W, 3) or L (H, W), as stored; None if Pillow finds the file broken."""
    ImageFile.LOAD_TRUNCATED_IMAGES = content.startswith(JPEG)  # Pillow refuses some JPEGs with all their pixels
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content)) as image:
                if mode == "L":
                    image.draft("L", image.size)  # a JPEG's stored brightness, not that of its colours
                if image.mode.startswith("I;16"):
                    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                return np.asarray(image.convert(mode))
    except Exception:
        return None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
