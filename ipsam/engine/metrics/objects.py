"""Metrics in which each object of a mask counts alike, whatever its size.

The size-invariant ones are of Li et al., Size-invariance Matters, ICML 2024. They equal PySODMetrics' to 1e-9. Unlike
there, masks of more than 53 objects, full masks, and masks with an object whose box fills the image have a score, too.
"""

from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.overlap import f_measure
from ipsam.engine.metrics.statistics import Counts, Vector
from ipsam.engine.metrics.truth import Window

MIN_AREA = 50  # pixels of an object; where all are smaller, the largest count


class Objects:
    """Connected parts of a mask (4 neighbours) beside a normalised prediction; both (h, w)."""

    def __init__(self, values: Vector, foreground: NDArray[np.uint8]) -> None:
        self._values, self._foreground = values, foreground
        _, self._labels, statistics, _ = cv2.connectedComponentsWithStats(foreground, connectivity=4)
        areas = statistics[1:, cv2.CC_STAT_AREA]
        self._chosen = 1 + np.flatnonzero(areas >= min(MIN_AREA, areas.max(initial=0)))
        self._boxes: list[Window] = [
            (slice(y, y + height), slice(x, x + width)) for x, y, width, height, _ in statistics[self._chosen].tolist()
        ]

    def mae(self) -> float:
        """Compute the size-invariant MAE: the mean over the objects' boxes and, by its share, what lies outside."""
        error = np.abs(self._values - self._foreground)
        if not self._boxes:
            return float(error.mean())
        outside = np.ones(error.shape, np.bool_)
        for box in self._boxes:
            outside[box] = False
        num_inside = error.size - np.count_nonzero(outside)
        sums = error[outside].sum() / num_inside + sum(error[box].mean() for box in self._boxes)
        return float(sums / (len(self._boxes) + (error.size - num_inside) / num_inside))

    @cached_property
    def _parts(self) -> list[tuple[Vector, NDArray[np.bool_]]]:
        """Prediction and mask in each object's box; without objects, the whole image."""
        boxes: Any = self._boxes or [np.s_[:, :]]
        return [(self._values[box], self._foreground[box] > 0) for box in boxes]

    def f(self) -> float:
        """Compute the size-invariant F-measure: the mean over 256 thresholds and the objects' boxes."""

        def curve(values: Vector, num_outside: int) -> Vector:
            bins = np.bincount((values * 255).astype(np.uint8), minlength=256)
            bins[0] += num_outside  # predicted by no threshold but 0
            return np.cumsum(bins[::-1]).astype(np.float64)

        scores = []
        for values, inside in self._parts:
            background = curve(values[~inside], self._values.size - values.size)
            counts = Counts(curve(values[inside], 0), background)
            scores.append(np.mean(f_measure(counts, int(np.count_nonzero(inside)))))
        return float(np.mean(scores))

    def f_adaptive(self) -> float:
        """Compute the size-invariant F-measure at twice the mean of what is predicted in each object's box."""
        scores = []
        for values, inside in self._parts:
            threshold = min(2 * values.sum() / self._values.size, 1)
            above = values >= threshold
            false = np.count_nonzero(above & ~inside) + (0 if threshold else self._values.size - values.size)
            counts = Counts(float(np.count_nonzero(above & inside)), float(false))
            scores.append(float(f_measure(counts, int(np.count_nonzero(inside)))))
        return float(np.mean(scores))

    def recall(self) -> float:
        """Compute the share of an object's pixels above 0.5, averaged over the objects; 0 without objects."""
        areas = np.bincount(self._labels.ravel())[self._chosen]
        found = np.bincount(self._labels[self._values > 0.5], minlength=self._labels.max() + 1)[self._chosen]
        return float(np.mean(found / areas)) if len(areas) else 0.0
