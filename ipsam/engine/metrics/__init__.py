"""Metrics of camouflaged object detection: PySODMetrics' values to the bit or to 1e-9, several times as fast.

``measure`` scores one image, ``means`` a dataset. A prediction passes through ``protocol`` (number format and size),
``levels`` or ``statistics`` (counts and moments) and the formulas: ``structure`` (S), ``alignment`` (E), ``overlap``
(F, Dice, IoU), ``weighted_f`` with ``distance``, ``objects`` and ``reference``. ``registry`` lists the metrics.
"""

from ipsam.engine.metrics.measure import CurveSum, ImageScores, Scores, ground_truth, means, measure
from ipsam.engine.metrics.protocol import PRESETS, Protocol, to_eight_bit
from ipsam.engine.metrics.registry import ALL_METRICS, CURVES, FURTHER, HEADLINE, METRICS
from ipsam.engine.metrics.statistics import Pixels

__all__ = [
    "ALL_METRICS",
    "CURVES",
    "FURTHER",
    "HEADLINE",
    "METRICS",
    "PRESETS",
    "CurveSum",
    "ImageScores",
    "Pixels",
    "Protocol",
    "Scores",
    "ground_truth",
    "means",
    "measure",
    "to_eight_bit",
]
