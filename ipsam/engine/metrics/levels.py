"""Statistics of 8-bit predictions from histograms, in one pass over the pixels.

Two histograms over 256 levels in each quadrant of the S-measure, of the background and of the foreground, determine
every count and moment. Levels are normalised by PySODMetrics' own floating-point operations, so every pixel lands in
the same bin as there. Sums are integers until the last division.
"""

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.statistics import Counts, Moments, Quadrant, Statistics, Vector
from ipsam.engine.metrics.truth import NUM_PARTS, GroundTruth, Window

LEVELS = np.arange(256)
KNIFE_EDGE = 1e-9  # a level this close to the adaptive threshold needs the mean with PySODMetrics' rounding
_POWERS = np.stack([LEVELS**0, LEVELS, LEVELS**2], axis=1).astype(np.float64)
_CALC_HIST_LIMIT = 1 << 24  # pixels; cv2.calcHist counts in float32
_SHAPE, _RANGES = [NUM_PARTS, 256], [0, NUM_PARTS, 0, 256]


class Levels(NamedTuple):
    """Normalised values of an 8-bit prediction's levels: ``values[v]`` is (v - low) / (high - low).

    Attributes:
        curve: (256,) the level from which on pixels count at each of the thresholds 255/255 to 0.
        half: level from which on values exceed 0.5.
    """

    low: int
    high: int
    values: Vector
    curve: NDArray[np.intp]
    half: int

    @property
    def scale(self) -> int:
        """Number of levels between 0 and 1."""
        return self.high - self.low


@lru_cache(256)
def _levels(lowest: int, highest: int) -> Levels:
    """Stretch the levels between two to [0, 1]."""
    values = LEVELS / 255
    if (lowest, highest) != (0, 255):
        values = (values - values[lowest]) / (values[highest] - values[lowest])
    bins = (values[lowest : highest + 1] * 255).astype(np.uint8)
    curve = lowest + bins.searchsorted(np.arange(255, -1, -1, dtype=np.uint8))
    return Levels(lowest, highest, values, curve, int(values.searchsorted(0.5, "right")))


class Sums(NamedTuple):
    """Number, sum and sum of squares of pixel levels."""

    num: int
    total: int
    squares: int

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


def statistics_of_levels(
    prediction: NDArray[np.uint8], truth: GroundTruth, *, min_max: bool
) -> tuple[Levels, Statistics]:
    """Normalise an 8-bit prediction (h, w) and compute its statistics."""
    histograms = _histograms(prediction, truth)
    background, foreground = kinds = histograms.sum(0)
    whole = background + foreground
    occurring = whole.nonzero()[0]
    lowest, highest = int(occurring[0]), int(occurring[-1])
    # A constant prediction is not stretched.
    levels = _levels(lowest, highest) if min_max and lowest != highest else _levels(0, 255)
    # Exact, because all products stay below 2^53.
    sums = (np.concatenate([kinds[None], histograms]) @ _POWERS).astype(np.int64)
    (of_background, of_foreground), *of_quadrants = [[Sums(*one) for one in pair] for pair in sums.tolist()]
    above_low, above_low_outside = of_foreground.from_level(levels.low), of_background.from_level(levels.low)
    missing, absent = of_foreground.from_level(levels.high, -1), of_background.from_level(levels.high, -1)
    mean = (above_low.total + above_low_outside.total) / (truth.size * levels.scale)
    adaptive = _adaptive(mean, levels, prediction, whole)
    # Number of pixels, false and true, from each level on, and from beyond the last.
    from_level = np.zeros((2, 257))
    from_level[:, :256] = kinds[:, ::-1].cumsum(1)[:, ::-1]

    def counts(level: int) -> Counts:
        false, true = from_level[:, level].tolist()
        return Counts(true, false)

    return levels, Statistics(
        mean=mean,
        missing=missing.total / levels.scale,
        excess=above_low_outside.total / levels.scale,
        curve=Counts(*from_level[::-1, levels.curve]),
        adaptive=counts(adaptive),
        half=counts(levels.half),
        foreground=above_low.moments(levels.scale),
        background=absent.moments(levels.scale),
        quadrants=tuple(
            _quadrant(prediction, levels, window, *pair)
            for window, pair in zip(truth.quadrants if truth.is_mixed else (), of_quadrants, strict=False)
        ),
    )


def _histograms(prediction: NDArray[np.uint8], truth: GroundTruth) -> Vector:
    """Count the levels of each quadrant's background and foreground: (4, 2, 256)."""
    total = np.zeros((NUM_PARTS, 256))
    pixels, parts = prediction.ravel(), truth.parts.ravel()
    for start in range(0, truth.size, _CALC_HIST_LIMIT):
        some = slice(start, start + _CALC_HIST_LIMIT)
        total += cv2.calcHist([parts[some], pixels[some]], [0, 1], None, _SHAPE, _RANGES)
    return total.reshape(-1, 2, 256)


def _adaptive(mean: float, levels: Levels, prediction: NDArray[np.uint8], whole: Vector) -> int:
    """Return the level from which on values reach twice the mean, at most 1."""
    values = levels.values
    level = int(values.searchsorted(2 * mean))
    for near in range(max(level - 1, 0), min(level + 1, 256)):
        if abs(values[near] - 2 * mean) < KNIFE_EDGE and whole[near] > 0 and values[near] != 1:
            mean = float(values[prediction].mean())
            break
    return int(values.searchsorted(min(2 * mean, 1.0)))


def _quadrant(
    prediction: NDArray[np.uint8], levels: Levels, window: Window, background: Sums, foreground: Sums
) -> Quadrant | None:
    num, scale = background.num + foreground.num, levels.scale
    if not num:
        return None
    both = Sums(num, background.total + foreground.total, background.squares + foreground.squares)
    _, total, squares = both.from_level(levels.low)
    num_inside, inside = foreground.num, foreground.total - levels.low * foreground.num
    xx = (num * squares - total**2) / (num * scale**2)
    if xx == 0 and num_inside in (0, num) and 0 < total < num * scale:
        # Two constants: in PySODMetrics the rounding of the mean decides whether they count as equal.
        values = levels.values[prediction][window]
        xx = float(np.sum((values - values.mean()) ** 2))
    return Quadrant(
        num=num,
        x=total / (num * scale),
        y=num_inside / num,
        xx=xx,
        yy=(num * num_inside - num_inside**2) / num,
        xy=(num * inside - total * num_inside) / (num * scale),
    )
