"""Curves over the thresholds: their axes, which the report shares, and PNG files with one line for each method."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ipsam.engine.evaluate.plots import empty_plots, line_style, png
from ipsam.utils.files import write_bytes
from ipsam.utils.fonts import fonts, short

KINDS = {"pr": "precision and recall", "f": "F-measure", "em": "E-measure"}

Values = NDArray[np.float64]
Curves = Mapping[str, Values]  # by the names in ipsam.engine.metrics.CURVES, at the thresholds 255 to 0
Lines = Mapping[int, tuple[Values, Values]]  # x and y by the method's number


def plotted(kind: str, methods: Iterable[Curves | None]) -> tuple[tuple[str, str], tuple[float, float], Lines]:
    """Return the labels and the ends of both axes, and the lines of the methods that have curves.

    Args:
        kind: one of ``KINDS``: precision over recall, or the F- or E-measure over the threshold.
        methods: each method's curves, if it has any.
    """
    labels = ("recall", "precision") if kind == "pr" else ("threshold", KINDS[kind])
    thresholds = np.arange(255, -1, -1, dtype=np.float64)
    lines = {
        number: (curves["recall"], curves["precision"]) if kind == "pr" else (thresholds, curves[kind])
        for number, curves in enumerate(methods)
        if curves is not None
    }
    highest = max([1.0, *(float(np.max(y)) for _, y in lines.values())])  # E of small images exceeds 1
    return labels, (1.0 if kind == "pr" else 255.0, highest), lines


def draw_curve(kind: str, methods: Mapping[str, Curves | None], title: str) -> Figure:
    """Plot one of ``KINDS`` by method; a method without curves has no line, but still takes up a colour."""
    figure, (axes,) = empty_plots()
    (x_label, y_label), (right, highest), lines = plotted(kind, methods.values())
    for number, (x, y) in lines.items():
        colour, style = line_style(number)
        axes.plot(x, y, color=colour, linestyle=style, linewidth=1.8)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, right), ylim=(0, max(1.01, highest)))
    if kind != "pr":
        axes.set_xticks(range(0, 256, 51))
    families = fonts()
    names = [name for name, curves in methods.items() if curves is not None]
    axes.set_title(short(title), parse_math=False, family=families, fontsize=11)
    legend = axes.legend(axes.lines, ["method"] * len(names), loc="best", framealpha=0.8, prop={"family": families})
    # Set afterwards, because matplotlib skips labels that begin with "_".
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=short(name), parse_math=False)
    return figure


def save_curves(datasets: Mapping[str, Mapping[str, Curves | None]], folder: Path) -> list[Path]:
    """Write ``<dataset>_pr.png``, ``_f.png`` and ``_em.png`` for each dataset; return the paths."""
    written = []
    for dataset, methods in datasets.items():
        for kind, name in KINDS.items():
            written.append(folder / f"{dataset}_{kind}.png")
            write_bytes(written[-1], png(draw_curve(kind, methods, f"{dataset}: {name}")))
    return written
