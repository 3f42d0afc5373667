"""E-measure (Fan et al., Enhanced-alignment Measure for Binary Foreground Map Evaluation, IJCAI 2018)."""

import numpy as np

from ipsam.engine.metrics.statistics import Counts, Values
from ipsam.engine.metrics.truth import GroundTruth

EPS = np.spacing(1)


def e_measure(counts: Counts, truth: GroundTruth) -> Values:
    """Compute E of the prediction binarised at each threshold of ``counts``, in PySODMetrics' order.

    Alignment is the same for all pixels of a kind (predicted or not, foreground or background), so four counts suffice.
    As in PySODMetrics the sum is divided by n - 1 pixels, so a small perfect prediction exceeds 1. A single pixel, for
    which that gives 1 / eps = 4.5e15, is divided by 1.
    """
    predicted = counts.true + counts.false
    if truth.num_foreground == 0:
        total = truth.size - predicted
    elif truth.num_foreground == truth.size:
        total = predicted
    else:
        missed = truth.num_foreground - counts.true
        p, g = predicted / truth.size, truth.num_foreground / truth.size
        kinds = (
            (counts.true, 1 - p, 1 - g),
            (counts.false, 1 - p, 0 - g),
            (missed, 0 - p, 1 - g),
            (truth.size - predicted - missed, 0 - p, 0 - g),
        )
        total = np.sum([_enhanced_alignment(a, b) * num for num, a, b in kinds], axis=0)
    return np.asarray(total / (truth.size - 1 + EPS if truth.size > 1 else 1))


def _enhanced_alignment(a: Values, b: float) -> Values:
    """Align two deviations from their images' means."""
    return np.asarray((2 * (a * b) / (a**2 + b**2 + EPS) + 1) ** 2 / 4)
