"""All metrics of one prediction, and of a dataset."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.levels import statistics_of_levels
from ipsam.engine.metrics.protocol import Protocol
from ipsam.engine.metrics.registry import CURVES, METRICS, Inputs, curves_of
from ipsam.engine.metrics.statistics import Pixels, statistics_of_values
from ipsam.engine.metrics.truth import GroundTruth


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image.

    Attributes:
        scores: by the names in ``METRICS``; ``em_max`` and ``f_max`` are the peaks of the image's own curves.
        curves: (6, 256), in the order of ``CURVES``, at the thresholds 255/255, 254/255, ..., 0.
    """

    scores: dict[str, float]
    curves: NDArray[np.float64]


def measure(prediction: Pixels, mask: NDArray[np.uint8], protocol: Protocol) -> ImageScores:
    """Score a prediction against its mask.

    Args:
        prediction: (h, w); uint8 of 0 to 255, or floating point of 0 to 1.
        mask: (h, w) uint8; values above the protocol's ``gt_threshold`` are foreground.

    Raises:
        ValueError: prediction or mask has a wrong type, range or shape; or their shapes differ, but the protocol does
            not resize them.
    """
    prediction, mask = protocol.prepare(prediction, mask)
    if prediction.shape != mask.shape:
        raise ValueError(f"a prediction of {prediction.shape} pixels can't be scored against a mask of {mask.shape}")
    truth, low, high = GroundTruth(mask, protocol.gt_threshold), 0, 1
    if prediction.dtype == np.uint8:
        levels, statistics = statistics_of_levels(prediction, truth, min_max=protocol.min_max)
        low, high = levels.low, levels.high
    else:
        lowest, highest = prediction.min(), prediction.max()
        if protocol.min_max and lowest != highest:
            prediction = (prediction - lowest) / (highest - lowest)
        statistics = statistics_of_values(prediction, truth)
    curves = curves_of(statistics.curve, truth)
    named = dict(zip(CURVES, curves, strict=True))
    inputs = Inputs(prediction, low, high, truth, statistics, named, protocol.fw_beta2)
    return ImageScores({name: float(metric.score(inputs)) for name, metric in METRICS.items()}, curves)


def means(images: Sequence[ImageScores]) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Average the scores and curves of at least one image, by the names in ``METRICS`` and ``CURVES``.

    Sums are rounded once, so that the order of the images does not matter.
    """
    stacked = np.stack([image.curves for image in images])  # (n, 6, 256)
    columns = stacked.reshape(len(images), -1).T.tolist()
    mean = np.array([math.fsum(column) for column in columns]).reshape(stacked.shape[1:]) / len(images)
    curves = dict(zip(CURVES, mean, strict=True))
    scores = {name: math.fsum(image.scores[name] for image in images) / len(images) for name in METRICS}
    peaks = {name: float(curves[metric.peak_of].max()) for name, metric in METRICS.items() if metric.peak_of}
    return scores | peaks, curves
