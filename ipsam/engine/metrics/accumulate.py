"""From the scores of images to those of a dataset."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.measure import CURVES, METRICS, ImageScores


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
