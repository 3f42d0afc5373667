"""Precision, recall, F-measure, Dice and IoU from counts, and IoU of boundaries."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.statistics import Counts, Values, Vector

F_BETA2 = 0.3  # Achanta et al., Frequency-tuned salient region detection, CVPR 2009
BOUNDARY = 0.02  # of the diagonal; Cheng et al., Boundary IoU, CVPR 2021


def overlaps(counts: Counts, num_foreground: int) -> tuple[Values, Values, Values, Values, Values]:
    """Compute precision, recall, F, Dice and IoU; each is 0 where it would divide by 0.

    F has beta^2 = 0.3, by PySODMetrics' operations in their order.
    """
    true, predicted = counts.true, counts.true + counts.false
    p, r = _divide(true, predicted), _divide(true, num_foreground)
    f = _divide((F_BETA2 + 1) * p * r, F_BETA2 * p + r)
    return p, r, f, _divide(2 * true, num_foreground + predicted), _divide(true, num_foreground + counts.false)


def f_measure(counts: Counts, num_foreground: int) -> Values:
    """Compute F with beta^2 = 0.3."""
    return overlaps(counts, num_foreground)[2]


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
    counts = Counts(float(true), float(np.count_nonzero(ours) - true))
    return overlaps(counts, int(np.count_nonzero(theirs)))[4]


def _divide(numerator: Values, denominator: Values) -> Values:
    """Divide; 0 where the denominator is 0."""
    if isinstance(denominator, float | int):
        return numerator / denominator if denominator else 0 * numerator
    if denominator.all():
        return numerator / denominator
    quotient: Vector = np.zeros(denominator.shape)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient
