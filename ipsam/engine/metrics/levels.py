"""Statistics of 8-bit predictions from histograms, in one pass over the pixels.

Two histograms over 256 levels in each quadrant of the S-measure, one of all pixels and one of the foreground, determine
every count and moment. Levels are normalised by PySODMetrics' own floating-point operations, so every pixel lands in
the same bin as there. Sums are integers until the last division.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.statistics import Counts, Moments, Quadrant, Statistics, Vector
from ipsam.engine.metrics.truth import GroundTruth, Window

LEVELS = np.arange(256)
KNIFE_EDGE = 1e-9  # a level this close to the adaptive threshold needs the mean with PySODMetrics' rounding
_POWERS = np.stack([LEVELS**0, LEVELS, LEVELS**2], axis=1).astype(np.float64)
_CALC_HIST_LIMIT = 1 << 24  # cv2.calcHist counts in float32


@dataclass(frozen=True)
class Levels:
    """Normalised values of an 8-bit prediction's levels: ``values[v]`` is (v - low) / (high - low)."""

    low: int
    high: int
    values: Vector

    @classmethod
    def of(cls, histogram: Vector, *, min_max: bool) -> "Levels":
        """Choose the levels for a histogram; a constant prediction is not stretched."""
        values = LEVELS / 255
        occurring = np.flatnonzero(histogram)
        lowest, highest = int(occurring[0]), int(occurring[-1])
        if not min_max or lowest == highest:
            return cls(0, 255, values)
        return cls(lowest, highest, (values - values[lowest]) / (values[highest] - values[lowest]))

    @property
    def scale(self) -> int:
        """Number of levels between 0 and 1."""
        return self.high - self.low


@dataclass(frozen=True)
class Sums:
    """Number, sum and sum of squares of pixel levels."""

    num: int
    total: int
    squares: int

    @classmethod
    def of(cls, histogram: Vector) -> "Sums":
        """Sum over a histogram; exact, because all products stay below 2^53."""
        return cls(*(histogram @ _POWERS).astype(np.int64).tolist())

    def from_level(self, level: int, sign: int = 1) -> "Sums":
        """Transform to the sums of ``sign * (v - level)``."""
        total = sign * (self.total - level * self.num)
        return Sums(self.num, total, self.squares - 2 * level * self.total + level**2 * self.num)

    def moments(self, scale: int) -> Moments | None:
        """Compute the moments of the levels divided by ``scale``."""
        if not self.num:
            return None
        deviations = max(self.num * self.squares - self.total**2, 0) / self.num
        return Moments(
            self.total / (self.num * scale), (deviations / (self.num - 1)) ** 0.5 / scale if self.num > 1 else 0.0
        )


class Histograms:
    """Histograms of an 8-bit prediction (h, w): whole image, foreground and background, and each quadrant."""

    def __init__(self, prediction: NDArray[np.uint8], truth: GroundTruth) -> None:
        self.quadrants: list[tuple[Vector, Vector]] = []
        if truth.is_mixed:
            self.quadrants = [_of_window(prediction, truth, window) for window in truth.quadrants]
            self.whole, self.foreground = (np.sum(parts, axis=0) for parts in zip(*self.quadrants, strict=True))
        else:
            self.whole = _histogram(prediction)
            self.foreground = self.whole if truth.num_foreground else np.zeros(256)
        self.background = self.whole - self.foreground


def statistics_of_levels(
    prediction: NDArray[np.uint8], truth: GroundTruth, *, min_max: bool
) -> tuple[Levels, Statistics]:
    """Normalise an 8-bit prediction (h, w) and compute its statistics."""
    histograms = Histograms(prediction, truth)
    levels = Levels.of(histograms.whole, min_max=min_max)
    sums = Sums.of(histograms.foreground), Sums.of(histograms.background)
    foreground, background = (part.from_level(levels.low) for part in sums)
    missing, absent = (part.from_level(levels.high, -1) for part in sums)
    mean = (foreground.total + background.total) / (truth.size * levels.scale)
    occurring = histograms.whole > 0
    quadrants = tuple(
        _quadrant(prediction, levels, window, *parts)
        for window, parts in zip(truth.quadrants if truth.is_mixed else (), histograms.quadrants, strict=True)
    )

    def counts(chosen: NDArray[np.bool_]) -> Counts:
        chosen = chosen & occurring
        return Counts(histograms.foreground[chosen].sum(), histograms.background[chosen].sum())

    return levels, Statistics(
        mean=mean,
        missing=missing.total / levels.scale,
        excess=background.total / levels.scale,
        curve=_curve(levels, histograms),
        adaptive=counts(levels.values >= _adaptive_threshold(mean, levels, prediction, occurring)),
        half=counts(levels.values > 0.5),
        foreground=foreground.moments(levels.scale),
        background=absent.moments(levels.scale),
        quadrants=quadrants,
    )


def _histogram(pixels: NDArray[np.uint8], mask: NDArray[np.uint8] | None = None) -> Vector:
    if not pixels.size:
        return np.zeros(256)
    if pixels.size >= _CALC_HIST_LIMIT:
        chosen = pixels.ravel() if mask is None else pixels[mask > 0]
        return np.bincount(chosen, minlength=256).astype(np.float64)
    return np.asarray(cv2.calcHist([pixels], [0], mask, [256], [0, 256]), np.float64).ravel()


def _of_window(prediction: NDArray[np.uint8], truth: GroundTruth, window: Window) -> tuple[Vector, Vector]:
    both = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(window, truth.box, strict=True))
    return _histogram(prediction[window]), _histogram(prediction[both], truth.foreground[both])


def _curve(levels: Levels, histograms: Histograms) -> Counts:
    bins = np.zeros(256, np.int64)
    inside = slice(levels.low, levels.high + 1)
    bins[inside] = (levels.values[inside] * 255).astype(np.uint8)
    parts = (np.bincount(bins, part, 256)[::-1] for part in (histograms.foreground, histograms.background))
    return Counts(*(part.cumsum().astype(np.float64) for part in parts))


def _adaptive_threshold(
    mean: float, levels: Levels, prediction: NDArray[np.uint8], occurring: NDArray[np.bool_]
) -> float:
    close = (abs(levels.values - 2 * mean) < KNIFE_EDGE) & occurring & (levels.values != 1)
    if close.any():
        mean = float(levels.values[prediction].mean())
    return min(2 * mean, 1)


def _quadrant(
    prediction: NDArray[np.uint8], levels: Levels, window: Window, whole: Vector, foreground: Vector
) -> Quadrant | None:
    both, inside = Sums.of(whole).from_level(levels.low), Sums.of(foreground).from_level(levels.low)
    if not both.num:
        return None
    num, scale = both.num, levels.scale
    xx = (num * both.squares - both.total**2) / (num * scale**2)
    if xx == 0 and inside.num in (0, num) and 0 < both.total < num * scale:
        # Two constants: in PySODMetrics the rounding of the mean decides whether they count as equal.
        values = levels.values[prediction][window]
        xx = float(np.sum((values - values.mean()) ** 2))
    return Quadrant(
        num=num,
        x=both.total / (num * scale),
        y=inside.num / num,
        xx=xx,
        yy=(num * inside.num - inside.num**2) / num,
        xy=(num * inside.total - both.total * inside.num) / (num * scale),
    )
