"""Curves over the thresholds and histograms of per-image scores, a line for each method."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ipsam.utils.fonts import boxes_for_unknown_letters, fonts, short

# Okabe and Ito's colours, told apart with any kind of colour vision; without the black and the yellow.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
STYLES = ("-", "--", ":", "-.")  # after one round of the colours, the next
KINDS = {"pr": "precision and recall", "f": "F-measure", "em": "E-measure"}
NUM_BINS = 25

Curves = Mapping[str, NDArray[np.float64]]  # by the names of ipsam.engine.metrics.CURVES, at the thresholds 255 to 0


def draw_curve(kind: str, methods: Mapping[str, Curves | None], *, title: str | None = None) -> Figure:
    """One of ``KINDS``: precision over recall, or the F- or E-measure over the threshold.

    Args:
        kind: ``pr``, ``f`` or ``em``.
        methods: each one's curves; one without curves gets no line, but keeps the others to their colours.
        title: stands above it; without a title there is no legend either, for use where both are told in text.
    """
    figure, axes = _empty()
    for line, curves in enumerate(methods.values()):
        if curves is None:
            continue
        across = curves["recall"] if kind == "pr" else np.arange(255, -1, -1)
        colour, style = line_style(line)
        values = curves["precision" if kind == "pr" else kind]
        axes.plot(across, values, color=colour, linestyle=style, linewidth=1.8)
    axes.set_xlabel("recall" if kind == "pr" else "threshold")
    axes.set_ylabel("precision" if kind == "pr" else KINDS[kind])
    axes.set_xlim(0, 1 if kind == "pr" else 255)
    axes.set_ylim(0, 1.01)
    if kind != "pr":
        axes.set_xticks(range(0, 256, 51))
    if title is not None:
        families = fonts()
        drawn = [name for name, curves in methods.items() if curves is not None]
        axes.set_title(short(title), parse_math=False, family=families, fontsize=11)
        legend = axes.legend(axes.lines, ["method"] * len(drawn), loc="best", framealpha=0.8, prop={"family": families})
        # Set afterwards, because matplotlib passes over labels that begin with "_".
        for text, name in zip(legend.get_texts(), drawn, strict=True):
            text.set(text=short(name), parse_math=False)
    return figure


def draw_histogram(label: str, methods: Mapping[str, Sequence[float]]) -> Figure:
    """How a score is distributed over the images: as bars for one method, as outlines for several.

    A method without values is not drawn, but keeps the others to their colours.
    """
    figure, axes = _empty()
    known = [[value for value in values if math.isfinite(value)] for values in methods.values()]
    lowest, highest = (edge([v for values in known for v in values], default=0.0) for edge in (min, max))
    edges = np.linspace(math.floor(lowest * 10) / 10, max(0.1, math.ceil(highest * 10) / 10), NUM_BINS + 1)
    for line, values in enumerate(known):
        colour, style = line_style(line)
        if sum(map(bool, known)) == 1:
            axes.hist(values, edges.tolist(), color=colour, edgecolor="white", linewidth=0.6)
        else:
            axes.hist(values, edges.tolist(), histtype="step", linewidth=1.6, color=colour, linestyle=style)
    axes.set_xlabel(label)
    axes.set_ylabel("images")
    axes.set_xlim(edges[0], edges[-1])
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def line_style(line: int) -> tuple[str, str]:
    """Colour and dashes of the method with this number."""
    return COLOURS[line % len(COLOURS)], STYLES[line // len(COLOURS) % len(STYLES)]


def png(figure: Figure, dpi: int = 150) -> bytes:
    """The figure as the content of a PNG file."""
    content = io.BytesIO()
    with boxes_for_unknown_letters():  # the report has the name as text
        figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


def save_curves(datasets: Mapping[str, Mapping[str, Curves | None]], folder: Path) -> list[Path]:
    """Write ``<dataset>_pr.png``, ``_f.png`` and ``_em.png`` for each dataset, which holds each method's curves."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for dataset, methods in datasets.items():
        for kind, name in KINDS.items():
            path = folder / f"{dataset}_{kind}.png"
            path.write_bytes(png(draw_curve(kind, methods, title=f"{dataset}: {name}")))
            written.append(path)
    return written


def _empty() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.8, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes
