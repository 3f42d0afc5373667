"""Examine files, read the way a run would read them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from ipsam.data.decoding.limits import Size, check_size, quiet_pillow
from ipsam.data.drawings import Drawing
from ipsam.data.images import (
    Header,
    MaskError,
    binarise_mask,
    image_size,
    mask_values,
    open_image,
    orientation_of,
    read_bytes,
    read_image,
)
from ipsam.data.items import Stored, name_of
from ipsam.data.pairs import border_is_foreground
from ipsam.tools.prepare.doctor.duplicates import ImageHash, image_hash
from ipsam.utils.files import is_file
from ipsam.utils.worker_pool import WorkerPool

CHUNK = 16  # files sent to a worker at once
SECONDS = 120.0  # for one file; the largest files of a dataset take a few

Kind = Literal["image", "mask"]
Fault = Literal["unreadable", "mask values"]


@dataclass(frozen=True)
class File:
    """An image or mask to examine.

    Attributes:
        stored: the file, or the item within a file.
        stem: of its pair.
    """

    stored: Stored
    kind: Kind
    stem: str

    @property
    def path(self) -> Path:
        """The file, or the item's name in messages."""
        return name_of(self.stored)


@dataclass(frozen=True)
class MaskFacts:
    """Statistics of a mask.

    Attributes:
        share: of foreground, after the threshold.
        between: grey values other than 0 and 255, sorted.
        share_between: of pixels with such values.
        border: whether most of the border is foreground.
    """

    share: float
    between: bytes
    share_between: float
    border: bool


@dataclass(frozen=True)
class FileFacts:
    """Facts about a file; those after its fault keep their defaults.

    Attributes:
        fault, reason: why a run could not use the file, as a category and as a message.
        size: (height, width) from the header.
        format: Pillow's name of the content's format.
        orientation: EXIF's; 1 if stored upright.
        oddity: ``CMYK``, ``alpha``, ``multi-page`` or ``16-bit``, if reading drops something.
        mask: of a mask only.
        hash: of an image only.
    """

    file: File
    fault: Fault | None = None
    reason: str = ""
    size: Size | None = None
    format: str = ""
    orientation: int = 1
    oddity: str = ""
    mask: MaskFacts | None = None
    hash: ImageHash | None = None

    @property
    def header(self) -> Header | None:
        """The header as a run reads it; None if it cannot be read."""
        if self.size is None:
            return None
        return Header(self.size, 1 if self.format == "TIFF" else self.orientation)  # reading turns a TIFF

    def failed(self, reason: str, fault: Fault = "unreadable") -> "FileFacts":
        """Return a copy with a fault."""
        return replace(self, fault=fault, reason=reason)


def examine_all(files: Sequence[File], *, num_workers: int) -> dict[File, FileFacts]:
    """Examine files with a progress bar, in worker processes or, for 0, in this one.

    A file that crashes its worker or keeps it busy is reported, and the others are still examined.
    """
    found: Iterator[FileFacts] = map(examine, files)
    if num_workers and files:
        pool: WorkerPool[File, FileFacts] = WorkerPool(
            examine,
            num_workers=min(num_workers, len(files)),
            chunk=CHUNK,
            timeout=SECONDS,
            lost=_lost,
            initializer=_silence_decoders,
        )
        found = pool.map(files)
    bar = tqdm(found, total=len(files), desc="reading", unit="file", leave=False, disable=None)
    return {facts.file: facts for facts in bar}


def _lost(file: File, reason: str) -> FileFacts:
    return FileFacts(file).failed(f"{file.path}: {reason}; fetch the file again or leave it out")


def _silence_decoders() -> None:
    """Discard the decoders' own messages about broken files."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def examine(file: File) -> FileFacts:
    """Read a file; errors of any type become its fault."""
    facts = FileFacts(file)
    try:
        facts = _with_header(facts)
        if file.kind == "image":
            return replace(facts, hash=image_hash(read_image(file.stored)))
        grey = mask_values(file.stored)
        return replace(facts, mask=_mask_facts(grey, binarise_mask(grey, file.path)))
    except MaskError as error:
        return facts.failed(str(error), "mask values")
    except (ValueError, FileNotFoundError) as error:
        return facts.failed(str(error))
    except Exception as error:  # the other files must still be read
        return facts.failed(f"{file.path}: can't be read ({type(error).__name__}: {error}); fetch it again")


def _with_header(facts: FileFacts) -> FileFacts:
    stored = facts.file.stored
    if isinstance(stored, Drawing):
        return replace(facts, size=image_size(stored))
    if isinstance(stored, Path) and is_file(stored) and not stored.stat().st_size:
        read_bytes(stored)  # its error is clearer than the header's
    with quiet_pillow(), open_image(stored) as image:
        return replace(
            facts,
            size=check_size(image.height, image.width, facts.file.path),
            format=image.format or "",
            orientation=orientation_of(image),
            oddity=_oddity(image),
        )


def _oddity(image: Image.Image) -> str:
    if getattr(image, "is_animated", False) and image.format != "MPO":  # an MPO's further pages are previews
        return "multi-page"
    if image.mode == "CMYK":
        return "CMYK"
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return "alpha"
    # Pillow's mode hides 16-bit colours; its decoder's raw mode shows them: ("RGB;16B", ...) or "RGB;16B".
    raw = (tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in getattr(image, "tile", ()))
    return "16-bit" if any(";16" in str(part) for parts in raw for part in parts) else ""


def _mask_facts(grey: NDArray[np.uint8], mask: NDArray[np.uint8]) -> MaskFacts:
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel()  # np.bincount takes eight times the memory
    return MaskFacts(
        share=np.count_nonzero(mask) / mask.size,
        between=(np.flatnonzero(counts[1:-1]) + 1).astype(np.uint8).tobytes(),
        share_between=float(counts[1:-1].sum()) / grey.size,
        border=border_is_foreground(mask),
    )
