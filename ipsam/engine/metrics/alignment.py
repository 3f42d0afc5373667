"""E-measure (Fan et al., Enhanced-alignment Measure for Binary Foreground Map Evaluation, IJCAI 2018)."""

from typing import Any

import numpy as np

from ipsam.engine.metrics.statistics import Counts, Values
from ipsam.engine.metrics.truth import GroundTruth

EPS = float(np.spacing(1))


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
        deviations = [1 - p, 0 - p]
        means, squares = [1 - g, 0 - g], [(1 - g) ** 2, (0 - g) ** 2]
        if isinstance(p, float):
            (tp, fp), (fn, tn) = [[_alignment(a, *b) for b in zip(means, squares, strict=True)] for a in deviations]
        else:  # all at once
            (tp, fp), (fn, tn) = _alignment(np.array(deviations)[:, None], *np.array([means, squares])[..., None])
        total = tp * counts.true + fp * counts.false + fn * missed + tn * (truth.size - predicted - missed)
    return total / (truth.size - 1 + EPS if truth.size > 1 else 1)


def _alignment(a: Any, b: Any, b_squared: Any) -> Any:
    """Compute the enhanced alignment of two deviations from their images' means."""
    return (2 * (a * b) / (a**2 + b_squared + EPS) + 1) ** 2 / 4
