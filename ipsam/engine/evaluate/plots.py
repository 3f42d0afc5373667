"""Style of the plots: colours that stay distinct, quiet axes, PNG."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the report takes the colours alone
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, distinct under every colour blindness; without its black and yellow.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
STYLES = ("-", "--", ":", "-.")  # the next one once all colours are used
SIZE = (4.8, 3.6)  # of a plot, in inches


def line_style(line: int) -> tuple[str, str]:
    """Return colour and dashes of the n-th line."""
    return COLOURS[line % len(COLOURS)], STYLES[line // len(COLOURS) % len(STYLES)]


def empty_plots(rows: int = 1, columns: int = 1) -> "tuple[Figure, list[Axes]]":
    """Make a figure of plots with a grid, and their axes row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0] * columns, SIZE[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    plots = [figure.add_subplot(rows, columns, number + 1) for number in range(rows * columns)]
    for axes in plots:
        axes.grid(visible=True, color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, plots


def png(figure: "Figure", dpi: int = 150) -> bytes:
    """Encode a figure as PNG; letters that no font has become boxes."""
    from ipsam.utils.fonts import boxes_for_unknown_letters

    content = io.BytesIO()
    with boxes_for_unknown_letters():
        figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()
