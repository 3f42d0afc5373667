"""Masks drawn from the shapes of an annotation, by one rule for all formats.

Coordinates are pixels, (0, 0) the outer corner of the first one, so that pixel i reaches from i to i + 1. Polygons are
filled by pycocotools, as the COCO API does it: a pixel whose centre is inside belongs to the polygon, to 1/5 pixel.
Corners are rounded to 1/100 pixel before, so that formats with other numbers of digits give the same mask.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ipsam.data.decoding.limits import Size, check_size
from ipsam.data.files import hxw
from ipsam.data.items import Item, Stored

SLACK = 0.02  # of a side that corners may lie outside of the image; they are cut off there
MAX_OUTLINE = 2_000_000  # pixels of one polygon; pycocotools holds ten numbers for each
DIGITS = 2  # of a coordinate in pixels
MAX_CHARACTERS = 7  # of a number in compressed run lengths

Points = NDArray[np.float64]  # (n, 2), x and y
Runs = NDArray[np.int64]  # lengths of alternating background and foreground, column by column


class Shape(NamedTuple):
    """Part of a mask: a polygon's corners (n, 2), or run lengths (n,); ``name`` is its name in messages."""

    name: str
    geometry: NDArray[Any]  # Points or Runs
    size: Any = None  # [height, width] of the mask that run lengths are of, by the annotation


@dataclass(frozen=True)
class Drawing(Item):
    """Mask that is the union of shapes; without any it is background.

    Attributes:
        shapes: what to draw.
        size: (height, width) by the annotation; None: as the image's.
        image: that the annotation belongs to.
        is_relative: coordinates are shares of the image's width and height.
        is_missing: the image has no annotation file.
        problem: why the annotation cannot be used; empty if it can.
    """

    shapes: Sequence[Shape] = field(default=(), repr=False, compare=False)
    size: Size | None = field(default=None, compare=False)
    image: Stored | None = field(default=None, compare=False)
    is_relative: bool = field(default=False, compare=False)
    is_missing: bool = field(default=False, compare=False)
    problem: str = field(default="", compare=False)

    def key(self) -> str:
        """Return a hash of the size and the shapes."""
        digest = hashlib.sha256(repr((self.size, self.is_relative)).encode())
        for shape in self.shapes:
            digest.update(repr((shape.geometry.shape, shape.geometry.dtype.str)).encode() + shape.geometry.tobytes())
        return digest.hexdigest()[:32]

    def check(self, size: Size) -> None:
        """Check the shapes for an image of (height, width) = ``size``.

        Raises:
            ValueError: the annotation has a problem, or a shape cannot be drawn; with the file's and the shape's name.
        """
        if self.problem:
            is_named = self.problem.startswith(str(self.path))
            raise ValueError(self.problem if is_named else f"{self.path}: {self.problem}")
        check_size(*size, self.path)
        for shape in self.shapes:
            if problem := self._problem(shape, size):
                raise ValueError(f"{self.path}: {shape.name} {problem}; correct or remove it")

    def draw(self, size: Size) -> NDArray[np.uint8]:
        """Draw the mask, 255 on the object, for an image of (height, width) = ``size``; errors as of ``check``."""
        from pycocotools.mask import frPyObjects, merge  # an extra

        self.check(size)
        mask = np.zeros(size, np.uint8)
        runs = [one.geometry for one in self.shapes if one.geometry.ndim == 1]
        if polygons := [self._pixels(one.geometry, size) for one in self.shapes if one.geometry.ndim == 2]:
            filled = frPyObjects([points.ravel().tolist() for points in polygons], *size)
            runs.append(decompressed(merge(filled)["counts"]))
        for one in runs:
            columns = np.repeat(np.arange(len(one)) % 2 == 1, one)
            mask[columns.reshape(size[::-1]).T] = 255
        return mask

    def _pixels(self, points: Points, size: Size) -> Points:
        return np.round(points * size[::-1] if self.is_relative else points, DIGITS)

    def _problem(self, shape: Shape, size: Size) -> str:
        geometry = shape.geometry
        if shape.size not in (None, [*size]):
            return f"has run lengths of the size {shape.size!s:.99}, where its image has {[*size]} (height, width)"
        if geometry.ndim == 1:
            total, expected = int(geometry.sum()), size[0] * size[1]
            good = total == expected and geometry.min(initial=0) >= 0 and geometry.max(initial=0) <= expected
            return "" if good else f"has run lengths of {total:,} pixels, where its image has {expected:,}"
        if len(geometry) < 3:
            return f"has {len(geometry)} points, and a polygon has three or more"
        points = self._pixels(geometry, size)
        slack = np.maximum(1, SLACK * np.array(size[::-1]))
        if not ((points.min(axis=0) >= -slack) & (points.max(axis=0) <= size[::-1] + slack)).all():  # or not a number
            at = geometry[~((points >= -slack) & (points <= size[::-1] + slack)).all(axis=1)][0]
            unit = " (shares of the width and height)" if self.is_relative else ""
            return f"has the point ({at[0]:g}, {at[1]:g}){unit} outside of its image of {hxw(size)} (height x width)"
        if (outline := np.abs(np.diff(points, axis=0)).max(axis=1).sum()) > MAX_OUTLINE:
            return f"has an outline of {outline:,.0f} pixels, above the limit of {MAX_OUTLINE:,}"
        return ""


def check_pycocotools(label: str) -> None:
    """Check that the package is there that draws masks; ``label`` names the set or option in the error."""
    if find_spec("pycocotools") is None:
        raise ValueError(f"{label}: its polygons or run lengths need pycocotools: pip install -e '.[polygons]'")


def as_points(values: Any) -> Points:
    """Convert x, y, x, y, ... or pairs of them to (n, 2); ValueError if they are no such numbers."""
    try:
        points = np.asarray(values, np.float64)
        return points.reshape(-1, 2)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("holds no list of x and y") from error


def as_runs(mask: NDArray[np.bool_]) -> Runs:
    """Convert a mask (H, W) to run lengths."""
    flat = np.concatenate([[False], mask.T.ravel()])  # the first run is background, of no pixel perhaps
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes, [mask.size]]))


def decompressed(counts: bytes) -> Runs:
    """Read run lengths from COCO's text: five bits of a number in each character, differences from the last but one.

    pycocotools reads them too, but in C code that trusts a hostile file.

    Raises:
        ValueError: the text holds no run lengths.
    """
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((codes & 32) == 0)
    starts = np.concatenate([[0], ends + 1])
    if codes.min(initial=0) < 0 or codes.max(initial=0) > 63 or starts[-1] != len(codes) or not len(ends):
        raise ValueError("has counts that are no run lengths")
    digits = np.arange(len(codes)) - np.repeat(starts[:-1], np.diff(starts))
    if digits.max() >= MAX_CHARACTERS:
        raise ValueError("has counts of more than 32 bits")
    runs = np.add.reduceat((codes & 31) << 5 * digits, starts[:-1])
    runs -= np.where(codes[ends] & 16, 1 << 5 * (digits[ends] + 1), 0)  # a negative difference
    for first in (1, 2):
        runs[first::2] = np.cumsum(runs[first::2])
    return runs
