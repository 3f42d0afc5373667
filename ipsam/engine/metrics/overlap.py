"""Precision, recall, F-measure, Dice and IoU from counts."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ipsam.engine.metrics.statistics import Counts, Values

F_BETA2 = 0.3  # Achanta et al., Frequency-tuned salient region detection, CVPR 2009


def precision(counts: Counts) -> Values:
    """Compute precision; 0 where nothing is predicted."""
    return _divide(counts.true, counts.true + counts.false)


def recall(counts: Counts, num_foreground: int) -> Values:
    """Compute recall; 0 without foreground."""
    return _divide(counts.true, np.full_like(counts.true, num_foreground))


def f_measure(counts: Counts, num_foreground: int) -> Values:
    """Compute F with beta^2 = 0.3, by PySODMetrics' operations in their order."""
    p, r = precision(counts), recall(counts, num_foreground)
    return _divide((F_BETA2 + 1) * p * r, F_BETA2 * p + r)


def dice(counts: Counts, num_foreground: int) -> Values:
    """Compute Dice; 0 where both areas are empty."""
    return _divide(2 * counts.true, num_foreground + counts.true + counts.false)


def iou(counts: Counts, num_foreground: int) -> Values:
    """Compute IoU; 0 where both areas are empty."""
    return _divide(counts.true, num_foreground + counts.false)


def _divide(numerator: ArrayLike, denominator: ArrayLike) -> Values:
    """Divide; 0 where the denominator is 0."""
    quotient: NDArray[np.float64] = np.zeros(np.shape(denominator))
    np.divide(numerator, denominator, out=quotient, where=np.not_equal(denominator, 0))
    return quotient
