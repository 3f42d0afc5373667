"""All metrics of one prediction, and of a dataset."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.levels import statistics_of_levels
from ipsam.engine.metrics.protocol import Protocol
from ipsam.engine.metrics.registry import CURVES, METRICS, Inputs, curves_of
from ipsam.engine.metrics.statistics import Pixels, statistics_of_values
from ipsam.engine.metrics.truth import GroundTruth

BITS = 28  # of a digit in a sum of curves

Scores = dict[str, float]  # by metric


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image.

    Attributes:
        scores: by metric; ``em_max`` and ``f_max`` are the peaks of the image's own curves.
        curves: (6, 256), in the order of ``CURVES``, at the thresholds 255/255, 254/255, ..., 0.
    """

    scores: Scores
    curves: NDArray[np.float64]


def measure(
    prediction: Pixels, mask: NDArray[np.uint8], protocol: Protocol, truth: GroundTruth | None = None
) -> ImageScores:
    """Score a prediction against its mask.

    Args:
        prediction: (h, w); uint8 of 0 to 255, or floating point of 0 to 1.
        mask: (h, w) uint8; values above the protocol's ``gt_threshold`` are foreground.
        truth: ``ground_truth(mask, protocol)``, if several predictions share a mask.

    Raises:
        ValueError: prediction or mask has a wrong type, range or shape; or their shapes differ, but the protocol does
            not resize them.
    """
    prediction, mask = protocol.prepare(prediction, mask)
    if prediction.shape != mask.shape:
        raise ValueError(f"a prediction of {prediction.shape} pixels can't be scored against a mask of {mask.shape}")
    truth, low, high = truth or GroundTruth(mask, protocol.gt_threshold), 0, 1
    if prediction.dtype == np.uint8:
        levels, statistics = statistics_of_levels(prediction, truth, min_max=protocol.min_max)
        low, high = levels.low, levels.high
    else:
        lowest, highest = prediction.min(), prediction.max()
        if protocol.min_max and lowest != highest:
            prediction = (prediction - lowest) / (highest - lowest)
        statistics = statistics_of_values(prediction, truth)
    curves = curves_of(statistics.curve, truth)
    inputs = Inputs(prediction, low, high, truth, statistics, curves, protocol.fw_beta2)
    return ImageScores({name: float(metric.score(inputs)) for name, metric in protocol.metrics.items()}, curves)


def ground_truth(mask: NDArray[np.uint8], protocol: Protocol) -> GroundTruth:
    """Prepare a mask for ``measure`` of several predictions."""
    return GroundTruth(protocol.prepare(mask, mask)[1], protocol.gt_threshold, shared=True)


class CurveSum:
    """Sum of curves, exact until it is rounded once: neither the order of the images nor their grouping matters.

    It takes the same memory for any number of images. The whole numbers of ``_digits`` count units of 2^-28, 2^-56 and
    2^-84; what is left of a value of 0 to 2 below that is dropped.
    """

    def __init__(self) -> None:
        self._digits = np.zeros((3, len(CURVES), 256), np.int64)  # overflow after 10^10 images

    def add(self, curves: NDArray[np.float64]) -> None:
        """Add an image's curves, (6, 256)."""
        for digits in self._digits:
            curves = curves * 2.0**BITS
            whole = np.floor(curves)
            digits += whole.astype(np.int64)
            curves = curves - whole

    def __iadd__(self, other: "CurveSum") -> "CurveSum":
        self._digits += other._digits
        return self

    def digits(self) -> list[Any]:
        """Return the whole numbers of the sum, which ``of_digits`` reads, as nested lists."""
        return self._digits.tolist()

    @classmethod
    def of_digits(cls, digits: list[Any]) -> "CurveSum":
        """Make the sum whose ``digits`` are given; ValueError if they have another shape."""
        total = cls()
        total._digits[:] = np.asarray(digits, np.int64).reshape(total._digits.shape)
        return total

    def mean(self, num_images: int) -> dict[str, NDArray[np.float64]]:
        """Divide by the number of images, and return the curves by the names in ``CURVES``."""
        high, middle, low = self._digits.astype(object)  # Python's whole numbers
        total = ((high << 2 * BITS) + (middle << BITS) + low) / (1 << 3 * BITS)
        return dict(zip(CURVES, total.astype(np.float64) / num_images, strict=True))


def means(scores: Mapping[str, Sequence[float]], curves: CurveSum) -> tuple[Scores, dict[str, NDArray[np.float64]]]:
    """Average the scores of at least one image and their curves, by metric and the names in ``CURVES``.

    Sums are rounded once, so that the order of the images does not matter.

    Args:
        scores: of the images, by metric.
        curves: sum over the images.
    """
    mean = curves.mean(len(scores["mae"]))
    averages = {name: math.fsum(of_images) / len(of_images) for name, of_images in scores.items()}
    peaks = {name: float(mean[metric.peak_of].max()) for name, metric in METRICS.items() if metric.peak_of}
    return averages | peaks, mean
