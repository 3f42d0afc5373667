"""Charts of the report: coordinates for an inline SVG, which takes its colours from the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = {"pr": "precision and recall", "f": "F-measure", "em": "E-measure"}  # of curves
WIDTH, HEIGHT = 410, 280  # of the area between the axes, in the SVG's units
NUM_BINS = 25
DIFFERENT = 0.5  # of the largest difference between methods, from which on a curve is worth a closer look
MARGIN = 0.04  # around it, of the axis' length

Range = tuple[float, float]
Values = NDArray[np.float64]
Curves = Mapping[str, Values]  # by the names in ipsam.engine.metrics.CURVES, at the thresholds 255 to 0
Line = tuple[Values, Values]  # x and y


@dataclass(frozen=True)
class Chart:
    """One chart. ``lines`` holds (number of the method, path); ``dots`` has the path's points, if they are marked."""

    title: str
    x_label: str
    y_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[tuple[int, str]]
    dots: list[tuple[int, str]]
    filled: bool = False


def curve_chart(kind: str, methods: Sequence[Curves | None], *, zoom: bool = False) -> Chart:
    """Plot precision over recall, or the F- or E-measure over the threshold.

    Args:
        kind: one of ``KINDS``.
        methods: each method's curves, if it has any.
        zoom: show only the part in which the methods differ.
    """
    x_name, y_name = ("recall", "precision") if kind == "pr" else ("", kind)
    lines: dict[int, Line] = {
        number: (curves[x_name] if x_name else np.arange(255, -1, -1, dtype=np.float64), curves[y_name])
        for number, curves in enumerate(methods)
        if curves is not None
    }
    highest = max([1.0, *(float(np.max(y)) for _, y in lines.values())])  # E of small images exceeds 1
    ranges = where_different(lines) if zoom else ((0.0, 1.0 if x_name else 255.0), (0.0, highest))
    title = KINDS[kind] + (", where they differ" if zoom else "")
    return _chart(title, (x_name or "threshold", y_name if x_name else KINDS[kind]), lines, *ranges)


def where_different(lines: Mapping[int, Line]) -> tuple[Range, Range]:
    """Return the part of the unit square, as ranges of x and y, in which rising x has the most different y."""
    start, stop = max(np.min(x) for x, _ in lines.values()), min(np.max(x) for x, _ in lines.values())
    grid = np.linspace(start, stop, 512)
    heights = np.stack([np.interp(grid, x, y) for x, y in lines.values()])
    spread = np.ptp(heights, axis=0)
    shown = np.flatnonzero(spread >= DIFFERENT * spread.max())
    part = slice(shown[0], shown[-1] + 1)
    return _padded(grid[part]), _padded(heights[:, part])


def histogram(label: str, methods: Sequence[Sequence[float]]) -> Chart:
    """Plot the distribution of a score over the images, as outlines."""
    finite = {number: np.asarray(values, np.float64) for number, values in enumerate(methods)}
    finite = {number: values[np.isfinite(values)] for number, values in finite.items()}
    everything = np.concatenate([*finite.values(), [] if any(map(len, finite.values())) else [0.0]])
    high = max(0.1, math.ceil(everything.max() * 10) / 10)
    low = min(math.floor(everything.min() * 10) / 10, high - 0.1)
    lines, most = {}, 1
    for number, values in finite.items():
        if len(values):
            counts, edges = np.histogram(values, NUM_BINS, (low, high))
            lines[number] = (np.repeat(edges, 2), np.pad(np.repeat(counts, 2).astype(np.float64), 1))
            most = max(most, int(counts.max()))
    return _chart(
        f"histogram: {label}", (label, "images"), lines, (low, high), (0, most * 1.05), filled=len(lines) == 1
    )


def group_chart(title: str, label: str, groups: Mapping[str, int], methods: Sequence[Mapping[str, float]]) -> Chart:
    """Plot a score over groups of images, given by name with their size, each of which a method may lack."""
    heights = np.array([[scores.get(name, math.nan) for name in groups] for scores in methods])
    lines = {number: (np.arange(len(groups), dtype=np.float64), values) for number, values in enumerate(heights)}
    finite = heights[np.isfinite(heights)]
    x_ticks = [(index, f"{name}\nn = {num}") for index, (name, num) in enumerate(groups.items())]
    y_range = _padded(finite if len(finite) else np.array([0.0, 1.0]))
    return _chart(title, ("", label), lines, (-0.5, len(groups) - 0.5), y_range, x_ticks=x_ticks, dotted=True)


def ticks(limits: Range, most: int = 5) -> list[tuple[float, str]]:
    """Return round values with their texts, at equal distances of which at most ``most`` fit."""
    low, high = limits
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(size for one in (1, 2, 2.5, 5, 10) if (size := one * power) * most >= (high - low) * (1 - 1e-9))
    numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [(number * step, f"{number * step:g}") for number in numbers]


def _padded(values: Values) -> Range:
    low, high = float(values.min()), float(values.max())
    margin = max(MARGIN * (high - low), 0.005)
    return max(0.0, low - margin), min(max(1.0, high), high + margin)


def _chart(
    title: str,
    labels: tuple[str, str],
    lines: Mapping[int, Line],
    x_range: Range,
    y_range: Range,
    *,
    x_ticks: Sequence[tuple[float, str]] | None = None,
    filled: bool = False,
    dotted: bool = False,
) -> Chart:
    def along(values: Values | float, limits: Range, length: float) -> Any:  # as values
        return (np.asarray(values, np.float64) - limits[0]) / (limits[1] - limits[0]) * length

    def points(line: Line) -> list[str]:
        x, y = along(line[0], x_range, WIDTH), HEIGHT - along(line[1], y_range, HEIGHT)
        return [f"{left:.1f} {top:.1f}" for left, top in zip(x, y, strict=True) if math.isfinite(top)]

    drawn = {number: found for number, line in lines.items() if (found := points(line))}
    return Chart(
        title,
        *labels,
        x_ticks=[(float(along(at, x_range, WIDTH)), text) for at, text in x_ticks or ticks(x_range)],
        y_ticks=[(HEIGHT - float(along(at, y_range, HEIGHT)), text) for at, text in ticks(y_range)],
        lines=[(number, f"M{'L'.join(found)}") for number, found in drawn.items()],
        dots=[(number, "".join(f"M{one}h0" for one in found)) for number, found in drawn.items()] if dotted else [],
        filled=filled,
    )
