"""Layout of a figure: a row for each image, titles and colour keys above, thin gaps between. Lengths are in pixels."""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import cv2
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from numpy.typing import NDArray

from ipsam.engine.inference.drawing import GATE_MAP, SUPPRESSED, gate_map
from ipsam.utils.files import write_files
from ipsam.utils.fonts import boxes_for_unknown_letters, fonts, short

WIDTH = 480  # of an image
DPI = 512  # a power of two, so that converting to inches and back loses no pixel
GAP = 10  # between images
TITLE, KEY = 82, 50  # heights of the title line and the key line
PATCH, RAMP, SPACE = 28, 120, 20  # in a key: height of colours (and width of a patch), width of a ramp, space between
LARGEST = 2**16 - 1  # width or height that matplotlib can draw
TITLE_SIZE, KEY_SIZE, SMALLEST = 8.0, 5.5, 4.8  # font sizes in points
FRAME, NOTHING = "0.5", "0.94"  # greys of an image's frame and of a cell without an image

RGBImage = NDArray[np.uint8]
Map = NDArray[np.floating[Any]]
Key = Sequence[str | RGBImage]  # words and colours, side by side
Pixels = TypeVar("Pixels", NDArray[np.uint8], NDArray[np.float32])

SCALE = np.linspace(0, 1, 256)[None]  # of colours, for a key


@dataclass(frozen=True)
class Column:
    """A title, one image a row (None: no map), and a key to the colours."""

    title: str
    cells: Sequence[RGBImage | None]
    key: Key = ()


def probabilities(title: str, maps: Sequence[Map | None]) -> Column:
    """Make a column of maps from black, 0, to white, 1."""
    return Column(title, [None if one is None else grey(one) for one in maps], ("0", grey(SCALE), "1"))


def gates(maps: Sequence[Map]) -> Column:
    """Make a column of PSG's gates, see ``gate_map``."""
    return Column(GATE_MAP, [gate_map(one) for one in maps], (f"{SUPPRESSED} 0", gate_map(1 - SCALE), "1"))


def grey(values: Map) -> RGBImage:
    """Draw probabilities from black, 0, to white, 1."""
    return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=2)


def resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Resize an image or map to (height, width)."""
    if pixels.shape[:2] == size:
        return pixels
    smaller = pixels.shape[0] * pixels.shape[1] > size[0] * size[1]
    result: Pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return result


def draw_page(columns: Sequence[Column]) -> Figure:
    """Draw columns side by side, every image ``WIDTH`` wide.

    Args:
        columns: at least one, of equal length; the first holds an image in every row, which gives the row its height.

    Raises:
        ValueError: the page is too large to draw.
    """
    heights = [max(1, round(WIDTH * cell.shape[0] / cell.shape[1])) for cell in columns[0].cells if cell is not None]
    header = TITLE + (KEY if any(column.key for column in columns) else 0)
    width, height = len(columns) * (WIDTH + GAP) - GAP, header + sum(heights) + GAP * (len(heights) - 1)
    if max(width, height) > LARGEST:
        raise ValueError(
            f"{len(heights)} rows of {len(columns)} columns would be {width} x {height} pixels, which exceeds "
            f"the limit of {LARGEST}; choose fewer images"
        )
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    page = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))  # pixels, from the upper left corner
    page.set_axis_off()
    for number, column in enumerate(columns):
        left, top = number * (WIDTH + GAP), header
        _draw_title(page, column.title, left)
        _draw_key(page, column.key, left)
        for cell, cell_height in zip(column.cells, heights, strict=True):
            if cell is None:
                page.add_patch(Rectangle((left, top), WIDTH, cell_height, facecolor=NOTHING))
                _draw_text(page, "no map", left + WIDTH / 2, top + cell_height / 2, KEY_SIZE, ha="center")
            else:
                _draw_image(page, resized(cell, (cell_height, WIDTH)), left, top, WIDTH, cell_height)
            top += cell_height + GAP
    return figure


def rendered(figure: Figure, dpi: int) -> RGBImage:
    """Draw a figure as pixels (height, width, 3), smaller than its page if ``dpi`` is below ``DPI``."""
    figure.set_dpi(dpi)
    canvas: Any = FigureCanvasAgg(figure)
    with boxes_for_unknown_letters():
        canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def save_page(figure: Figure, stem: str) -> list[Path]:
    """Write a figure as ``<stem>.png`` and ``<stem>.pdf``; the PDF's letters are text.

    Raises:
        OSError: a file can't be written.
    """
    files: dict[str, bytes] = {}
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every letter that it embeds
    # TrueType, as publishers refuse matplotlib's Type 3; no date, so that the same figure is the same file.
    with boxes_for_unknown_letters(), matplotlib.rc_context({"pdf.fonttype": 42}):
        for kind in ("png", "pdf"):
            content = io.BytesIO()
            figure.savefig(content, format=kind, dpi=DPI, metadata={"CreationDate": None} if kind == "pdf" else None)
            files[f"{Path(stem).name}.{kind}"] = content.getvalue()
    write_files(Path(stem).parent, files)
    return [Path(stem).parent / name for name in files]


def _draw_title(page: Axes, title: str, left: float) -> None:
    """Centre a title above its column; reduce the font size of a long one, then truncate it."""
    text = _draw_text(page, title, left + WIDTH / 2, TITLE / 2, TITLE_SIZE, ha="center")
    text.set_fontsize(max(SMALLEST, TITLE_SIZE * min(1.0, WIDTH / _width(text))))
    for letters in range(len(title) - 1, 0, -1):
        if _width(text) <= WIDTH:
            break
        text.set_text(short(title, letters))


def _draw_key(page: Axes, key: Key, left: float) -> None:
    """Centre words and colours side by side; reduce the font size of words that exceed the column."""
    parts = [_draw_text(page, part, 0, TITLE + PATCH / 2, KEY_SIZE) if isinstance(part, str) else part for part in key]
    widths = [_width(part) if isinstance(part, Text) else PATCH if part.shape[1] == 1 else RAMP for part in parts]
    words = sum(width for part, width in zip(parts, widths, strict=True) if isinstance(part, Text))
    scale = min(1.0, (WIDTH - SPACE * (len(key) - 1) - sum(widths) + words) / max(words, 1))
    for index, part in enumerate(parts):
        if isinstance(part, Text) and scale < 1:
            part.set_fontsize(KEY_SIZE * scale)
            widths[index] = _width(part)
    x = left + (WIDTH - sum(widths) - SPACE * (len(key) - 1)) / 2
    for part, width in zip(parts, widths, strict=True):
        if isinstance(part, Text):
            part.set_x(x)
        else:
            _draw_image(page, part, x, TITLE, width, PATCH)
        x += width + SPACE


def _draw_image(page: Axes, image: RGBImage, left: float, top: float, width: float, height: float) -> None:
    page.imshow(image, extent=(left, left + width, top + height, top), aspect="auto", interpolation="none")
    # The frame separates a white image from the page.
    page.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=FRAME, linewidth=0.25))


def _draw_text(page: Axes, text: str, x: float, y: float, size: float, *, ha: str = "left") -> Text:
    return page.text(x, y, text, size=size, ha=ha, va="center_baseline", family=fonts(), parse_math=False)


def _width(text: Text) -> float:
    with boxes_for_unknown_letters():
        return float(text.get_window_extent().width)
