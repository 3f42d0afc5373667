from pathlib import Path

import cv2
import numpy as np
import torch
from support.builders import micro_model
from support.defaults import settings_with

from ipsam.data import TestSet
from ipsam.engine.evaluate.page import GAP, KEY, TITLE, WIDTH
from ipsam.engine.evaluate.panel import columns, panel, save_panel

RED, BLUE = 0, 2


def size(num_rows: int, num_columns: int) -> tuple[int, int, int]:
    """Half of a page, (height, width, 3)."""
    height, width = TITLE + KEY + num_rows * (WIDTH + GAP) - GAP, num_columns * (WIDTH + GAP) - GAP
    return height // 2, width // 2, 3


def test_panel_has_a_column_per_part_and_a_row_per_image() -> None:
    image, mask = torch.zeros(3, 3, 64, 64, dtype=torch.uint8), torch.zeros(3, 1, 64, 64)
    full = panel(image, mask, micro_model()(image.float()), most=2)
    assert full.shape == size(2, 7)
    assert full.dtype == np.uint8
    bare = micro_model(self_prompt=False, gating=False, lateral=False, refine=False)(image.float())
    assert panel(image, mask, bare).shape == size(3, 3)


def test_titles_and_colours_are_those_of_the_papers_figure() -> None:
    """Gate: red where the prompt is left as it is, blue where it is suppressed."""
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    output = micro_model()(image.float())
    for gate, colour, other in ((0.02, RED, BLUE), (0.98, BLUE, RED)):
        output.gate = torch.full((1, 1, 4, 4), gate)
        shown = {column.title: column for column in columns(image, torch.zeros(1, 1, 64, 64), output)}
        (cell,) = shown["Gate decision"].cells
        assert cell is not None
        assert (cell[..., colour] > cell[..., other]).all()
    assert [*shown] == ["Image", "Truth", "P⁺", "P⁻", "Gate decision", "Coarse", "Refined"]
    assert [title for title, column in shown.items() if not column.key] == ["Image"]


def test_diverged_outputs_are_drawn() -> None:
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    output = micro_model()(image.float())
    output.coarse = torch.full_like(output.coarse, torch.nan)
    assert panel(image, torch.zeros(1, 1, 64, 64), output).shape == size(1, 7)


def test_saved_panel(test_set: TestSet, tmp_path: Path) -> None:
    path = save_panel(micro_model(), test_set, tmp_path / "new" / "set.png", settings=settings_with(cpu=True), most=2)
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape == size(2, 7)
