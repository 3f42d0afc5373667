"""Weighted F-measure (Margolin et al., How to evaluate foreground maps?, CVPR 2014).

An error on the foreground counts at most the mean error around it (7 x 7 Gaussian, sigma 5). The weight of an error on
the background grows with the distance to the foreground, from 1 to 2. The first needs only the foreground's bounding
box, the second only predicted pixels within ``REACH`` of it.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.distance import BORDER, NEAR, SATURATED, with_border
from ipsam.engine.metrics.statistics import Pixels, Statistics
from ipsam.engine.metrics.truth import GroundTruth, Window, within

EPS = float(np.spacing(1))
REACH = 170  # pixels; beyond it, weights differ from 2 by less than 6e-11
_STRIP = 1 << 15  # pixels processed at a time; they fit into the processor's cache

# 2 minus the weight of a background pixel, by its squared distance to the foreground; 0 on the foreground.
_DISCOUNT = np.exp(np.log(0.5) / 5 * np.sqrt(np.arange(SATURATED + 1.0)))
_DISCOUNT[0] = 0
_GAUSSIAN = np.exp(-(np.arange(-NEAR, NEAR + 1.0) ** 2) / (2 * 5**2))
_GAUSSIAN /= _GAUSSIAN.sum()  # the reference's 7 x 7 kernel is its product with itself


def weighted_f(
    pixels: Pixels, truth: GroundTruth, statistics: Statistics, *, low: int, high: int, beta2: float
) -> float:
    """Compute the weighted F of a prediction; 0 where the ground truth has no foreground.

    In ``pixels`` (h, w), ``low`` stands for 0 and ``high`` for 1; ``statistics`` describe the normalised prediction.
    """
    if truth.num_foreground == 0:
        return 0.0
    inner = truth.box_with_margin(NEAR)
    scale, false_positives = high - low, 0.0
    if truth.is_mixed:
        largest = truth.box_with_margin(REACH)
        window = _predicted(pixels, largest, low)
        outer = inner if window is None else _union(window, inner)
        squared = truth.squared_distance(outer, largest)
        false_positives = 2 * statistics.excess
        if window is not None:
            false_positives -= _discount(pixels[window], squared[within(window, outer)], low) / scale
    missed = _missed(pixels[inner], truth, truth.foreground[inner], high) / scale if statistics.missing else 0.0
    true_positives = truth.num_foreground - missed
    r = 1 - missed / truth.num_foreground
    p = true_positives / (true_positives + false_positives + EPS)
    return (1 + beta2) * r * p / (r + beta2 * p + EPS)


def _missed(pixels: Pixels, truth: GroundTruth, foreground: NDArray[np.uint8], high: int) -> float:
    """Sum the errors on the foreground, each limited to the weighted mean of the errors around it."""
    error = spread = (np.asarray(high, pixels.dtype) - pixels) * foreground
    if truth.is_mixed:
        bordered = with_border(error)
        background, nearest = truth.nearest
        flat = bordered.ravel()
        flat[background] = flat[nearest]
        spread = bordered[BORDER:-BORDER, BORDER:-BORDER]
    mean = cv2.sepFilter2D(
        spread, cv2.CV_64F, _GAUSSIAN, _GAUSSIAN, borderType=cv2.BORDER_CONSTANT | cv2.BORDER_ISOLATED
    )
    return float(np.minimum(mean, error, out=mean).sum())


def _discount(pixels: Pixels, squared: NDArray[np.uint16], low: int) -> float:
    """Sum how much less than 2 the background errors near the foreground weigh."""
    total = 0.0
    rows = max(1, _STRIP // pixels.shape[1])
    for top in range(0, pixels.shape[0], rows):
        strip = slice(top, top + rows)
        weights = np.take(_DISCOUNT, squared[strip])
        total += float(np.einsum("ij,ij->", weights, pixels[strip]))
        if low:
            total -= low * float(weights.sum())
    return total


def _predicted(pixels: Pixels, window: Window, low: int) -> Window | None:
    """Find the bounding box of all predicted pixels in a window; None if nothing is predicted."""
    part = pixels[window]
    x, y, width, height = cv2.boundingRect((part != low).view(np.uint8))
    if not width:
        return None
    top, left = window[0].start + y, window[1].start + x
    return slice(top, top + height), slice(left, left + width)


def _union(a: Window, b: Window) -> Window:
    rows, columns = (slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
    return rows, columns
