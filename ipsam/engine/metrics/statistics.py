"""Counts and moments of a normalised prediction, shared by all metrics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.truth import GroundTruth

Pixels = NDArray[Any]  # uint8 of 0 to 255, or floating point of 0 to 1
Vector = NDArray[np.float64]
Values = Vector | float  # at many thresholds, or at one


class Counts(NamedTuple):
    """Numbers of true and false positives, at one threshold or at each of 256 (255 first)."""

    true: Values
    false: Values


class Moments(NamedTuple):
    """Mean and sample standard deviation (n - 1) of some pixels."""

    mean: float
    std: float


class Quadrant(NamedTuple):
    """Moments of prediction x and ground truth y in a quadrant of ``num`` pixels.

    ``x`` and ``y`` are means; ``xx``, ``yy`` and ``xy`` are sums of squared deviations and of their products.
    """

    num: int
    x: float
    y: float
    xx: float
    yy: float
    xy: float


class Statistics(NamedTuple):
    """Statistics of a normalised prediction (values in [0, 1]) and its ground truth.

    Attributes:
        mean: mean of the prediction.
        missing: sum of 1 - prediction over the foreground.
        excess: sum of the prediction over the background.
        curve: counts at the thresholds 255/255, 254/255, ..., 0.
        adaptive: counts at twice the mean, at most 1.
        half: counts above 0.5.
        foreground: moments of the prediction on the foreground; None without foreground.
        background: moments of 1 - prediction on the background; None without background.
        quadrants: in the order of ``GroundTruth.quadrants``, None for an empty quadrant; an empty tuple where the
            ground truth is all foreground or all background.
    """

    mean: float
    missing: float
    excess: float
    curve: Counts
    adaptive: Counts
    half: Counts
    foreground: Moments | None
    background: Moments | None
    quadrants: tuple[Quadrant | None, ...]


def statistics_of_values(values: Vector, truth: GroundTruth) -> Statistics:
    """Compute the statistics of a normalised floating-point prediction (h, w) by PySODMetrics' own operations."""
    in_foreground = truth.foreground.view(np.bool_)
    foreground, background = values[in_foreground], values[~in_foreground]
    mean = float(values.mean())

    def above(condition: Callable[[Vector], NDArray[np.bool_]]) -> Counts:
        return Counts(*(np.float64(np.count_nonzero(condition(part))) for part in (foreground, background)))

    def curve(part: Vector) -> Vector:
        bins = np.bincount((part * 255).astype(np.uint8), minlength=256)
        return np.cumsum(bins[::-1]).astype(np.float64)

    def quadrant(rows: slice, columns: slice) -> Quadrant | None:
        x, y = values[rows, columns], in_foreground[rows, columns]
        if not x.size:
            return None
        dx, dy = x - x.mean(), y - y.mean()
        sums = (float(np.sum(products)) for products in (dx**2, dy**2, dx * dy))
        return Quadrant(x.size, float(x.mean()), float(y.mean()), *sums)

    def moments(part: Vector) -> Moments | None:
        if not part.size:
            return None
        return Moments(float(part.mean()), float(part.std(ddof=1)) if part.size > 1 else 0.0)

    return Statistics(
        mean=mean,
        missing=float(np.sum(1 - foreground)),
        excess=float(np.sum(background)),
        curve=Counts(curve(foreground), curve(background)),
        adaptive=above(lambda part: part >= min(2 * mean, 1)),
        half=above(lambda part: part > 0.5),
        foreground=moments(foreground),
        background=moments(1 - background),
        quadrants=tuple(quadrant(*window) for window in truth.quadrants) if truth.is_mixed else (),
    )
