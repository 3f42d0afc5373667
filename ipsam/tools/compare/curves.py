"""Curves over the thresholds as PNG files, with one line for each method."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ipsam.engine.evaluate.plots import empty_plots, line_style, png
from ipsam.utils.files import write_bytes
from ipsam.utils.fonts import fonts, short

KINDS = {"pr": "precision and recall", "f": "F-measure", "em": "E-measure"}

Curves = Mapping[str, NDArray[np.float64]]  # by the names in ipsam.engine.metrics.CURVES, at the thresholds 255 to 0


def draw_curve(kind: str, methods: Mapping[str, Curves | None], title: str) -> Figure:
    """Plot precision over recall, or the F- or E-measure over the threshold.

    Args:
        kind: one of ``KINDS``.
        methods: curves by method. A method without curves has no line, but still takes up a colour.
        title: above the figure.
    """
    figure, (axes,) = empty_plots()
    for line, curves in enumerate(methods.values()):
        if curves is not None:
            colour, style = line_style(line)
            x = curves["recall"] if kind == "pr" else np.arange(255, -1, -1)
            axes.plot(x, curves["precision" if kind == "pr" else kind], color=colour, linestyle=style, linewidth=1.8)
    axes.set_xlabel("recall" if kind == "pr" else "threshold")
    axes.set_ylabel("precision" if kind == "pr" else KINDS[kind])
    axes.set_xlim(0, 1 if kind == "pr" else 255)
    axes.set_ylim(0, max([1.01, *(np.max(line.get_ydata()) for line in axes.lines)]))  # E of small images exceeds 1
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
