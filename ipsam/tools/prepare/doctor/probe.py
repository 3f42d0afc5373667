"""What one file is found to be, when it is read as a run would read it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ipsam.data.headers import MAX_BYTES, Size, check_size, quiet_pillow
from ipsam.data.images import MaskError, binarise_mask, decode_image, decode_mask, open_image, read_bytes
from ipsam.data.pairs import border_is_foreground
from ipsam.tools.prepare.doctor.fingerprint import Fingerprint, fingerprint

ORIENTATION = 0x0112  # of EXIF

Kind = Literal["image", "mask"]
Fault = Literal["unreadable", "mask values"]


@dataclass(frozen=True)
class File:
    """A file to examine, and what it is to be read as."""

    path: Path
    kind: Kind


@dataclass(frozen=True)
class MaskFacts:
    """What a mask holds.

    Attributes:
        share: of foreground, after the threshold.
        between: grey values other than 0 and 255, sorted.
        share_between: of the pixels that have such a value.
        border: whether most of the border is foreground.
    """

    share: float
    between: bytes
    share_between: float
    border: bool


@dataclass(frozen=True)
class Facts:
    """What a file is found to be; of one that can't be used, what was found until that turned out.

    Attributes:
        fault, reason: why a run could not use it, in a word and as a message.
        size: (height, width), from the header.
        format: what it is inside, as Pillow calls it.
        orientation: EXIF's, 1 where the picture is stored upright.
        oddity: `CMYK`, `alpha`, `multi-page` or `16-bit`, where it is read otherwise than it was meant.
        mask, fingerprint: of a mask, of an image.
    """

    file: File
    fault: Fault | None = None
    reason: str = ""
    size: Size | None = None
    format: str = ""
    orientation: int = 1
    oddity: str = ""
    mask: MaskFacts | None = None
    fingerprint: Fingerprint | None = None

    def failed(self, reason: str, fault: Fault = "unreadable") -> "Facts":
        """The same of a file that a run could not use."""
        return replace(self, fault=fault, reason=reason)


def examine(file: File) -> Facts:
    """Read a file, whatever is in it; errors of any kind are among the facts."""
    facts = Facts(file)
    try:
        facts = _with_header(facts)
        content = read_bytes(file.path)
        if file.kind == "image":
            return replace(facts, fingerprint=fingerprint(decode_image(content, file.path)))
        grey = decode_mask(content, file.path)
        return replace(facts, mask=_mask_facts(grey, binarise_mask(grey, file.path)))
    except MaskError as error:
        return facts.failed(str(error), "mask values")
    except (ValueError, FileNotFoundError) as error:
        return facts.failed(str(error))
    except Exception as error:  # whatever it is, the other files are still to be read
        return facts.failed(f"{file.path}: can't be read ({type(error).__name__}: {error}); fetch it again")


def _with_header(facts: Facts) -> Facts:
    path = facts.file.path
    if not 0 < path.stat().st_size <= MAX_BYTES:
        read_bytes(path)  # explains it better than its header would
    with quiet_pillow(), open_image(path) as image:
        return replace(
            facts,
            size=check_size(image.height, image.width, path),
            format=image.format or "",
            orientation=_orientation(image),
            oddity=_oddity(image),
        )


def _orientation(image: Image.Image) -> int:
    # Of a PNG, Pillow would decode all of it to look for a tag behind the pixels.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        tag = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken metadata is no matter to a run, which never looks at it
        return 1
    return tag if isinstance(tag, int) and 2 <= tag <= 8 else 1


def _oddity(image: Image.Image) -> str:
    if getattr(image, "is_animated", False) and image.format != "MPO":  # whose further pages are previews
        return "multi-page"
    if image.mode == "CMYK":
        return "CMYK"
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return "alpha"
    # What is stored, which Pillow's mode doesn't tell of colours: ("RGB;16B", ...) or "RGB;16B".
    stored = (tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in getattr(image, "tile", ()))
    return "16-bit" if any(";16" in str(part) for parts in stored for part in parts) else ""


def _mask_facts(grey: NDArray[np.uint8], mask: NDArray[np.uint8]) -> MaskFacts:
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel()  # bincount would take eight times the memory
    return MaskFacts(
        share=np.count_nonzero(mask) / mask.size,
        between=(np.flatnonzero(counts[1:-1]) + 1).astype(np.uint8).tobytes(),
        share_between=float(counts[1:-1].sum()) / grey.size,
        border=border_is_foreground(mask),
    )
