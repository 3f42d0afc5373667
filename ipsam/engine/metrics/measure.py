"""All metrics of one prediction."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.alignment import e_measure
from ipsam.engine.metrics.levels import statistics_of_levels
from ipsam.engine.metrics.overlap import dice, f_measure, iou, precision, recall
from ipsam.engine.metrics.protocol import Pixels, Protocol
from ipsam.engine.metrics.statistics import statistics_of_values
from ipsam.engine.metrics.structure import s_measure
from ipsam.engine.metrics.truth import GroundTruth
from ipsam.engine.metrics.weighted_f import weighted_f

METRICS = ("mae", "fw", "sm", "em", "em_adp", "em_max", "f", "f_adp", "f_max", "mdice", "miou", "dice_50", "iou_50")
LOWER_IS_BETTER = ("mae",)
CURVES = ("precision", "recall", "f", "em", "dice", "iou")


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image.

    Attributes:
        scores: by the names of ``METRICS``; ``em_max`` and ``f_max`` are those of the image's own curve.
        curves: (6, 256), in the order of ``CURVES``, at the thresholds 255/255, 254/255, ..., 0.
    """

    scores: dict[str, float]
    curves: NDArray[np.float64]


def measure(prediction: Pixels, mask: NDArray[np.uint8], protocol: Protocol) -> ImageScores:
    """Score a prediction against its mask.

    Args:
        prediction: (h, w); uint8 of 0 to 255, or floating point of 0 to 1.
        mask: (h, w) uint8; above the protocol's ``gt_threshold`` is foreground.
        protocol: by which rules.

    Raises:
        ValueError: prediction or mask is no such array; or the shapes differ, and the protocol compares at the ground
            truth's size.
    """
    prediction, mask = protocol.prepare(prediction, mask)
    if prediction.shape != mask.shape:
        raise ValueError(f"a prediction of {prediction.shape} pixels can't be scored against a mask of {mask.shape}")
    truth = GroundTruth(mask, protocol.gt_threshold)
    num, low, high = truth.num_foreground, 0, 1
    if prediction.dtype == np.uint8:
        levels, statistics = statistics_of_levels(prediction, truth, min_max=protocol.min_max)
        low, high = levels.low, levels.high
    else:
        prediction = _stretched(prediction) if protocol.min_max else prediction
        statistics = statistics_of_values(prediction, truth)
    curves = np.stack(
        [
            precision(statistics.curve),
            recall(statistics.curve, num),
            f_measure(statistics.curve, num),
            e_measure(statistics.curve, truth),
            dice(statistics.curve, num),
            iou(statistics.curve, num),
        ]
    )
    f, em, dices, ious = curves[2:]
    scores = {
        "mae": (statistics.missing + statistics.excess) / truth.size,
        "fw": weighted_f(prediction, truth, statistics, low=low, high=high, beta2=protocol.fw_beta2),
        "sm": s_measure(statistics, truth),
        "em": em.mean(),
        "em_adp": e_measure(statistics.adaptive, truth),
        "em_max": em.max(),
        "f": f.mean(),
        "f_adp": f_measure(statistics.adaptive, num),
        "f_max": f.max(),
        "mdice": dices.mean(),
        "miou": ious.mean(),
        "dice_50": dice(statistics.half, num),
        "iou_50": iou(statistics.half, num),
    }
    return ImageScores({name: float(score) for name, score in scores.items()}, curves)


def _stretched(prediction: NDArray[np.float64]) -> NDArray[np.float64]:
    """A prediction from 0 to 1; a constant one as it is."""
    low, high = prediction.min(), prediction.max()
    return prediction if low == high else (prediction - low) / (high - low)


def means(images: Sequence[ImageScores]) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Scores and curves of a dataset, by the names of ``METRICS`` and ``CURVES``; of at least one image.

    All are means over the images, but ``em_max`` and ``f_max``, which are the largest values of mean curves. Sums are
    rounded once, so that the order of the images changes nothing.
    """
    stacked = np.stack([image.curves for image in images])  # (n, 6, 256)
    columns = stacked.reshape(len(images), -1).T.tolist()
    mean = np.array([math.fsum(column) for column in columns]).reshape(stacked.shape[1:]) / len(images)
    curves = dict(zip(CURVES, mean, strict=True))
    scores = {name: math.fsum(image.scores[name] for image in images) / len(images) for name in METRICS}
    return scores | {"em_max": float(curves["em"].max()), "f_max": float(curves["f"].max())}, curves
