"""Columns of pictures on a page: a row for each image, nothing between them but a thin gap, titles and keys above."""

import logging
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from ipsam.tools.figures.columns import Column, Key
from ipsam.tools.figures.pictures import WIDTH, Picture, resized
from ipsam.utils.fonts import boxes_for_unknown_letters, fonts, short

DPI = 512  # a power of two, by which no size in inches is rounded and then a pixel short
GAP = 10  # pixels between pictures, as all lengths that follow
TITLE, KEY = 82, 50  # heights of the lines of titles and of keys
PATCH, RAMP, SPACE = 28, 120, 20  # of the colours in a key, PATCH being the height of both, and between its parts
LARGEST = 2**16 - 1  # width or height that matplotlib can draw
TITLE_SIZE, KEY_SIZE, SMALLEST = 8.0, 5.5, 4.8  # of letters, in points
FRAME, NOTHING = "0.5", "0.94"  # greys of a picture's frame, and of a cell without a picture


def draw_page(columns: Sequence[Column]) -> Figure:
    """The figure: every picture as wide as the others, and of its image's shape.

    Args:
        columns: at least one, with equally many cells; those of the first are all there and give the rows their height.

    Raises:
        ValueError: it would be too large to be drawn.
    """
    heights = [max(1, round(WIDTH * cell.shape[0] / cell.shape[1])) for cell in columns[0].cells if cell is not None]
    header = TITLE + (KEY if any(column.key for column in columns) else 0)
    width, height = len(columns) * (WIDTH + GAP) - GAP, header + sum(heights) + GAP * (len(heights) - 1)
    if max(width, height) > LARGEST:
        raise ValueError(
            f"{len(heights)} rows of {len(columns)} columns would be {width} x {height} pixels, and the "
            f"most that can be drawn are {LARGEST}; choose fewer images"
        )
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    page = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))  # pixels, from the upper left corner
    page.set_axis_off()
    for number, column in enumerate(columns):
        left, top = number * (WIDTH + GAP), header
        _title(page, column.title, left)
        _key(page, column.key, left)
        for cell, cell_height in zip(column.cells, heights, strict=True):
            if cell is None:
                page.add_patch(Rectangle((left, top), WIDTH, cell_height, facecolor=NOTHING))
                _text(page, "no map", left + WIDTH / 2, top + cell_height / 2, KEY_SIZE, ha="center")
            else:
                _picture(page, resized(cell, (cell_height, WIDTH)), left, top, WIDTH, cell_height)
            top += cell_height + GAP
    return figure


def save_page(figure: Figure, place: str) -> list[Path]:
    """Write a figure as ``<place>.png`` and ``<place>.pdf``, the latter with its letters as text.

    Raises:
        OSError: they can't be written.
    """
    paths = [Path(f"{place}.{ending}") for ending in ("png", "pdf")]
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every letter that it puts into a PDF
    # TrueType, as publishers refuse matplotlib's Type 3; and no date, so that the same figure is the same file.
    with boxes_for_unknown_letters(), matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(paths[0], dpi=DPI)
        figure.savefig(paths[1], dpi=DPI, metadata={"CreationDate": None})
    return paths


def _title(page: Axes, title: str, left: float) -> None:
    """A title in the middle of its column; one that is too long in smaller letters, then cut off."""
    text = _text(page, title, left + WIDTH / 2, TITLE / 2, TITLE_SIZE, ha="center")
    text.set_fontsize(max(SMALLEST, TITLE_SIZE * min(1.0, WIDTH / _extent(text))))
    for letters in range(len(title) - 1, 0, -1):
        if _extent(text) <= WIDTH:
            break
        text.set_text(short(title, letters))


def _key(page: Axes, key: Key, left: float) -> None:
    """Words and colours side by side in the middle of their column."""
    parts = [_text(page, part, 0, TITLE + PATCH / 2, KEY_SIZE) if isinstance(part, str) else part for part in key]
    widths = [_extent(part) if isinstance(part, Text) else PATCH if part.shape[1] == 1 else RAMP for part in parts]
    x = left + (WIDTH - sum(widths) - SPACE * (len(key) - 1)) / 2
    for part, width in zip(parts, widths, strict=True):
        if isinstance(part, Text):
            part.set_x(x)
        else:
            _picture(page, part, x, TITLE, width, PATCH)
        x += width + SPACE


def _picture(page: Axes, picture: Picture, left: float, top: float, width: float, height: float) -> None:
    page.imshow(picture, extent=(left, left + width, top + height, top), aspect="auto", interpolation="none")
    # Without a frame a white picture would run into the page.
    page.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=FRAME, linewidth=0.25))


def _text(page: Axes, text: str, x: float, y: float, size: float, *, ha: str = "left") -> Text:
    return page.text(x, y, text, size=size, ha=ha, va="center_baseline", family=fonts(), parse_math=False)


def _extent(text: Text) -> float:
    """Width in pixels."""
    with boxes_for_unknown_letters():
        return float(text.get_window_extent().width)
