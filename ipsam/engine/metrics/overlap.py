"""Precision, recall, F-measure, Dice and IoU from counts, and IoU of boundaries."""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ipsam.engine.metrics.statistics import Counts, Values

F_BETA2 = 0.3  # Achanta et al., Frequency-tuned salient region detection, CVPR 2009
BOUNDARY = 0.02  # of the diagonal; Cheng et al., Boundary IoU, CVPR 2021


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


def boundary_iou(prediction: NDArray[np.uint8], foreground: NDArray[np.uint8]) -> Values:
    """Compute the IoU of two masks' boundaries, (h, w) of 0 and 1; 0 where both are empty.

    A boundary is as wide as ``BOUNDARY`` of the image's diagonal, at least one pixel, inside of its mask. The image's
    border is one, too.
    """
    width = max(1, round(BOUNDARY * float(np.hypot(*foreground.shape))))

    def boundary(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        outside = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
        return mask - np.asarray(cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=width, **outside), np.uint8)

    ours, theirs = boundary(prediction), boundary(foreground)
    true = np.count_nonzero(ours & theirs)
    counts = Counts(np.float64(true), np.float64(np.count_nonzero(ours) - true))
    return iou(counts, int(np.count_nonzero(theirs)))


def _divide(numerator: ArrayLike, denominator: ArrayLike) -> Values:
    """Divide; 0 where the denominator is 0."""
    quotient: NDArray[np.float64] = np.zeros(np.shape(denominator))
    np.divide(numerator, denominator, out=quotient, where=np.not_equal(denominator, 0))
    return quotient
