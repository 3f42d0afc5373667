"""S-measure (Fan et al., Structure-measure: A new way to evaluate foreground maps, ICCV 2017), with alpha = 0.5."""

import numpy as np

from ipsam.engine.metrics.statistics import Moments, Quadrant, Statistics
from ipsam.engine.metrics.truth import GroundTruth

EPS = float(np.spacing(1))


def s_measure(statistics: Statistics, truth: GroundTruth) -> float:
    """Average object-aware and region-aware similarity; a mask of one kind only is compared by the prediction's mean.

    Where the foreground's centroid lies in the last row or column, two quadrants are empty and PySODMetrics gives NaN
    (0 times the mean of nothing). Here an empty quadrant adds 0, the limit: its weight is its share of the area.
    """
    if truth.num_foreground == 0:
        return 1 - statistics.mean
    if truth.num_foreground == truth.size:
        return statistics.mean
    share = truth.num_foreground / truth.size
    objects = _object(statistics.foreground) * share + _object(statistics.background) * (1 - share)
    regions = sum(_ssim(quadrant) * quadrant.num / truth.size for quadrant in statistics.quadrants if quadrant)
    return max(0.0, 0.5 * objects + 0.5 * regions)


def _object(part: Moments | None) -> float:
    assert part is not None  # the mask has both kinds of pixels
    return 2 * part.mean / (part.mean**2 + 1 + part.std + EPS)


def _ssim(part: Quadrant) -> float:
    """Compare luminance, contrast and structure; 1 for equal constants."""
    degrees = part.num - 1 + EPS
    alpha = 4 * part.x * part.y * (part.xy / degrees)
    beta = (part.x**2 + part.y**2) * (part.xx / degrees + part.yy / degrees)
    if alpha != 0:
        return alpha / (beta + EPS)
    return 1.0 if beta == 0 else 0.0
