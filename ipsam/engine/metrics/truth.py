"""Properties of a mask that do not depend on the prediction."""

from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.distance import NEAR, nearest_foreground, squared_distance

Window = tuple[slice, slice]  # rows, columns
NUM_PARTS = 8  # background and foreground of four quadrants


class GroundTruth:
    """Binary ground truth.

    Args:
        mask: (h, w) uint8.
        threshold: values above it are foreground.
        shared: several predictions are scored against it.

    Attributes:
        foreground: (h, w) uint8 of 0 and 1, contiguous.
        size, num_foreground: numbers of all pixels and of foreground pixels.
    """

    def __init__(self, mask: NDArray[np.uint8], threshold: int, *, shared: bool = False) -> None:
        self.foreground: NDArray[np.uint8] = cv2.threshold(mask, threshold, 1, cv2.THRESH_BINARY)[1]
        self.size, self._shared = mask.size, shared
        self._in_rows = self._along(1)
        self._squared: tuple[Window, NDArray[np.uint16]] | None = None  # of a window
        self.num_foreground = int(self._in_rows.sum())

    @cached_property
    def _in_columns(self) -> NDArray[np.int64]:
        return self._along(0)

    def _along(self, axis: int) -> NDArray[np.int64]:
        return np.asarray(cv2.reduce(self.foreground, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S), np.int64).ravel()

    @property
    def is_mixed(self) -> bool:
        """True if the mask has both foreground and background."""
        return 0 < self.num_foreground < self.size

    @cached_property
    def box(self) -> Window:
        """Bounding box of the foreground, which must not be empty."""
        rows, columns = np.flatnonzero(self._in_rows), np.flatnonzero(self._in_columns)
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def box_with_margin(self, margin: int) -> Window:
        """Grow ``box`` by ``margin`` pixels on each side, within the image."""
        rows, columns = (
            slice(max(0, side.start - margin), min(length, side.stop + margin))
            for side, length in zip(self.box, self.foreground.shape, strict=True)
        )
        return rows, columns

    def squared_distance(self, window: Window, largest: Window) -> NDArray[np.uint16]:
        """Compute ``squared_distance`` in a window, within ``largest``, that holds the foreground.

        It is kept for the mask's next prediction. If that needs another window, all of ``largest`` is computed; and at
        once where that is at most twice as large, and other predictions will come.
        """
        if self._squared is None or not all(
            known.start <= side.start and side.stop <= known.stop
            for known, side in zip(self._squared[0], window, strict=True)
        ):
            is_first = self._squared is None and not (self._shared and _area(largest) <= 2 * _area(window))
            outer = window if is_first else largest
            self._squared = outer, squared_distance(self.foreground[outer])
        outer, squared = self._squared
        return squared[within(window, outer)]

    @cached_property
    def nearest(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Background pixels near the foreground with their nearest, in ``box_with_margin(NEAR)``, within the image.

        ``squared_distance`` was called for at least that window.
        """
        window = self.box_with_margin(NEAR)
        return nearest_foreground(self.foreground[window], self.squared_distance(window, window))

    @cached_property
    def quadrants(self) -> tuple[Window, Window, Window, Window]:
        """Quadrants around the foreground's centroid, for the S-measure; some may be empty.

        As in PySODMetrics the centroid's row and column belong to the upper left quadrant. Where it is the last row,
        the lower quadrants are empty.
        """
        y, x = (
            int(np.round(int(np.dot(counts, np.arange(len(counts)))) / self.num_foreground)) + 1
            for counts in (self._in_rows, self._in_columns)
        )
        height, width = self.foreground.shape
        above, below, left, right = slice(0, y), slice(y, height), slice(0, x), slice(x, width)
        return (above, left), (above, right), (below, left), (below, right)

    @cached_property
    def parts(self) -> NDArray[np.uint8]:
        """Number each pixel's part (h, w): twice its quadrant, plus 1 on the foreground; one quadrant if not mixed."""
        parts = self.foreground
        if self.is_mixed:
            parts = parts.copy()
            _, (_, right), (below, _), _ = self.quadrants
            parts[:, right] += 2
            parts[below] += 4
        return parts


def _area(window: Window) -> int:
    rows, columns = window
    return int((rows.stop - rows.start) * (columns.stop - columns.start))


def within(window: Window, outer: Window) -> Window:
    """Express a window relative to an outer window's corner."""
    rows, columns = (slice(s.start - o.start, s.stop - o.start) for s, o in zip(window, outer, strict=True))
    return rows, columns
