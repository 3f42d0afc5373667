from pathlib import Path

import cv2
import numpy as np
import torch
from support.builders import micro_model
from support.defaults import settings_with

from ipsam.data import TestSet
from ipsam.engine.evaluate.panel import CELL, HEADER, panel, save_panel

RED, BLUE = 0, 2


def test_panel_has_a_column_per_part_and_a_row_per_image() -> None:
    image, mask = torch.zeros(3, 3, 64, 64, dtype=torch.uint8), torch.zeros(3, 1, 64, 64)
    full = panel(image, mask, micro_model()(image.float()), most=2)
    assert full.shape == (HEADER + 2 * CELL, 7 * CELL, 3)  # image, mask, P+, P-, gate, coarse, refined
    assert full.dtype == np.uint8
    bare = panel(image, mask, micro_model(self_prompt=False, gating=False, lateral=False, refine=False)(image.float()))
    assert bare.shape == (HEADER + 3 * CELL, 3 * CELL, 3)  # image, mask, coarse


def test_gate_colours_follow_the_paper() -> None:
    """Fig. 4: red where the prompt is left as it is, blue where it is suppressed."""
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    output = micro_model()(image.float())
    for gate, colour, other in ((0.02, RED, BLUE), (0.98, BLUE, RED)):
        output.gate = torch.full((1, 1, 4, 4), gate)
        cell = panel(image, torch.zeros(1, 1, 64, 64), output)[HEADER:, 4 * CELL : 5 * CELL]
        assert (cell[..., colour] > cell[..., other]).all()


def test_every_column_of_maps_has_its_scale() -> None:
    """Black to white for probabilities, dark blue to red for the gate; the image has none."""
    image, mask = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), torch.zeros(1, 1, 64, 64)
    header = panel(image, mask, micro_model()(image.float()))[:HEADER]
    line = header[30].reshape(7, CELL, 3).astype(int)
    assert (line[0] == 255).all()
    for number, cells in enumerate(line[1:], start=1):
        first, *_, last = (cell for cell in cells[18:98])
        if number == 4:
            assert first[BLUE] > first[RED]
            assert last[RED] > 10 * last[BLUE]
        else:
            assert (first.max(), last.min()) == (0, 255)


def test_saved_panel(test_set: TestSet, tmp_path: Path) -> None:
    path = save_panel(micro_model(), test_set, tmp_path / "new" / "set.png", settings=settings_with(cpu=True), most=2)
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.shape == (2 * (HEADER + CELL), 7 * CELL, 3)
