"""The field's metrics from shared work, to the bit or to 1e-9 those of PySODMetrics, several times as fast.

``measure`` scores one image, ``means`` a dataset. The way of an image: ``protocol`` (number format and size),
``truth`` (what is known of the mask), ``levels`` or ``statistics`` (counts and moments of the prediction), and from
these ``structure`` (S), ``alignment`` (E), ``overlap`` (F, Dice, IoU) and ``weighted_f`` with ``distance``.
"""

from ipsam.engine.metrics.measure import CURVES, LOWER_IS_BETTER, METRICS, ImageScores, means, measure
from ipsam.engine.metrics.protocol import PRESETS, Pixels, Protocol, to_eight_bit

__all__ = [
    "CURVES",
    "LOWER_IS_BETTER",
    "METRICS",
    "PRESETS",
    "ImageScores",
    "Pixels",
    "Protocol",
    "means",
    "measure",
    "to_eight_bit",
]
