"""From the scores of images to those of a dataset."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.measure import CURVES, METRICS, ImageScores


def mean_curves(images: Sequence[ImageScores]) -> dict[str, NDArray[np.float64]]:
    """Means over the images, by the names of ``CURVES``; at least one image.

    Sums are rounded once, so that the order of the images changes nothing.
    """
    stacked = np.stack([image.curves for image in images])  # (n, 6, 256)
    flat = stacked.reshape(len(images), -1).T
    means = np.array([math.fsum(column) for column in flat.tolist()]) / len(images)
    return dict(zip(CURVES, means.reshape(stacked.shape[1:]), strict=True))


def mean_scores(images: Sequence[ImageScores], curves: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Scores of a dataset by the names of ``METRICS``: means; but ``em_max`` and ``f_max`` are maxima of mean curves.

    Args:
        images: at least one.
        curves: their ``mean_curves``.
    """
    means = {name: math.fsum(image.scores[name] for image in images) / len(images) for name in METRICS}
    return means | {"em_max": float(curves["em"].max()), "f_max": float(curves["f"].max())}
