"""Layout of a page: the PNG to the pixel, and the PDF's objects."""

import re
from pathlib import Path

import numpy as np
import pytest
from support.figure_runs import read

from ipsam.engine.evaluate.page import (
    DPI,
    GAP,
    KEY,
    PATCH,
    SCALE,
    TITLE,
    WIDTH,
    Column,
    RGBImage,
    draw_page,
    save_page,
)
from ipsam.tools.figures.columns import energy_map, patch
from ipsam.utils.fonts import boxes_for_unknown_letters

FRAME = 3  # pixels at an image's edge that its frame may touch


def noise(height: int, width: int = WIDTH, seed: int = 0) -> RGBImage:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def inner(image: RGBImage) -> RGBImage:
    return image[FRAME:-FRAME, FRAME:-FRAME]


def saved(columns: list[Column], folder: Path) -> RGBImage:
    return read(str(save_page(draw_page(columns), str(folder / "page"))[0]))


def test_every_image_is_placed_to_the_pixel(tmp_path: Path) -> None:
    """Rows take their images' shapes; the page has no margin."""
    heights = (200, 700)
    cells = [[noise(height, seed=10 * column + height) for height in heights] for column in range(3)]
    page = saved([Column(f"column {number}", of_column) for number, of_column in enumerate(cells)], tmp_path)
    assert page.shape == (TITLE + 200 + GAP + 700, 3 * WIDTH + 2 * GAP, 3)
    for number, of_column in enumerate(cells):
        left, top = number * (WIDTH + GAP), TITLE
        for cell in of_column:
            there = page[top : top + len(cell), left : left + WIDTH]
            np.testing.assert_array_equal(inner(there), inner(cell))
            top += len(cell) + GAP
    assert (page[:4] == 255).all()
    assert (page[TITLE + 200 + FRAME : TITLE + 200 + GAP - FRAME] == 255).all()
    assert (page[:, WIDTH + FRAME : WIDTH + GAP - FRAME] == 255).all()
    for number in range(3):  # a title above each
        assert (page[:TITLE, number * (WIDTH + GAP) :][:, :WIDTH] < 100).any()


def test_missing_map_is_grey_and_labelled(tmp_path: Path) -> None:
    page = saved([Column("image", [noise(100), noise(100)]), Column("map", [None, noise(100)])], tmp_path)
    cell = page[TITLE : TITLE + 100, WIDTH + GAP :]
    assert (inner(cell)[:10] == 240).all()
    assert (cell < 60).any()  # the label


def test_keys_are_between_titles_and_images(tmp_path: Path) -> None:
    colours = patch((10, 200, 30)), patch((200, 10, 30))
    columns = [
        Column("plain", [noise(100)]),
        Column("patches", [noise(100)], (colours[0], "one", colours[1], "other")),
        Column("a ramp", [noise(100)], ("low", energy_map(2 * SCALE - 1), "high")),
    ]
    page = saved(columns, tmp_path)
    assert page.shape[0] == TITLE + KEY + 100
    line = page[TITLE : TITLE + PATCH]
    plain, patches, bar = (line[:, number * (WIDTH + GAP) :][:, :WIDTH] for number in range(3))
    assert (plain == 255).all()
    for colour in colours:
        assert (patches == colour).all(2).sum() >= (PATCH - 2 * FRAME) ** 2
    assert (patches.min(2) < 60).any()  # and words
    saturated = (bar.max(2).astype(int) - bar.min(2) > 60).any(0)
    assert 80 < saturated.sum() < 160
    np.testing.assert_array_equal(page[TITLE + KEY + FRAME, FRAME:50], noise(100)[FRAME, FRAME:50])


@pytest.mark.parametrize("words", [("suppressed 0", "1"), ("−1.23e+03", "+1.23e+03"), ("suppressed 0", "1 unaffected")])  # noqa: RUF001
def test_keys_fit_their_column(words: tuple[str, str]) -> None:
    """A key never runs into its neighbour."""
    key = (words[0], energy_map(2 * SCALE - 1), words[1])
    figure = draw_page([Column("image", [noise(50)]), Column("map", [noise(50)], key)])
    with boxes_for_unknown_letters():
        boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text() in words]
    assert len(boxes) == 2
    assert boxes[0].x0 >= WIDTH + GAP - 1
    assert boxes[1].x1 <= 2 * WIDTH + GAP + 1
    assert boxes[0].x1 < boxes[1].x0


@pytest.mark.parametrize("title", ["A method with a rather long name", "_$x^2$ & <b>", "模型", "w" * 300])
def test_titles_fit_their_column(title: str) -> None:
    figure = draw_page([Column("image", [noise(50)]), Column(title, [noise(50)])])
    text = figure.axes[0].texts[1]
    with boxes_for_unknown_letters():
        box = text.get_window_extent()
    assert box.x0 >= WIDTH + GAP - 1
    assert box.x1 <= 2 * WIDTH + GAP + 1
    shown = text.get_text()
    assert shown == title or (shown.endswith("…") and title.startswith(shown[:-1]))
    assert shown == title or len(title) > 30


def test_pdf(tmp_path: Path) -> None:
    """One page, images not resampled, TrueType letters, reproducible bytes."""
    cells = [noise(200, seed=1), noise(300, seed=2)]
    columns = [Column("Image", cells), Column("模型 P⁺", cells, ("0", energy_map(2 * SCALE - 1), "1"))]
    _, path = save_page(draw_page(columns), str(tmp_path / "a.b"))
    assert path == tmp_path / "a.b.pdf"
    content = path.read_bytes()
    assert content.startswith(b"%PDF-1.")
    assert content.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b", content)) == 1
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", content)
    expected = np.array([2 * WIDTH + GAP, TITLE + KEY + 200 + GAP + 300]) * 72 / DPI
    np.testing.assert_allclose([float(side) for side in box], expected, atol=0.01)
    images = re.findall(rb"/Subtype /Image\s+/Width (\d+)\s+/Height (\d+)", content)
    assert sorted((int(width), int(height)) for width, height in images) == [
        (256, 1),
        *[(WIDTH, 200)] * 2,
        *[(WIDTH, 300)] * 2,
    ]
    assert b"/Type3" not in content
    assert b"/FontFile2" in content
    assert b"CreationDate" not in content
    assert save_page(draw_page(columns), str(tmp_path / "again"))[1].read_bytes() == content
