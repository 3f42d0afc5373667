from pathlib import Path

import cv2
import numpy as np
import pytest

from ipsam.engine.evaluate.plots import COLOURS
from ipsam.engine.metrics import CURVES
from ipsam.tools.compare.curves import KINDS, draw_curve, save_curves

FALLING = {name: np.linspace(1, 0, 256) if name == "precision" else np.linspace(0, 1, 256) for name in CURVES}
FLAT = {name: np.full(256, 0.5) for name in CURVES}
NAMES = ("plain", "_hidden", "$\\frac{", "模型", "<script>alert(1)</script>", "x" * 200)


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_has_a_line_and_its_name_in_the_legend(kind: str) -> None:
    (axes,) = draw_curve(kind, {"absent": None} | dict.fromkeys(NAMES, FALLING), "a $et: 数据").axes
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [*NAMES[:-1], "x" * 47 + "…"]
    # A method without curves keeps its colour.
    assert [line.get_color() for line in axes.lines] == [*COLOURS[1:], COLOURS[0]]


def test_more_methods_than_colours_differ_in_dashes() -> None:
    (axes,) = draw_curve("f", {str(number): FLAT for number in range(20)}, "F").axes
    assert len({(line.get_color(), line.get_linestyle()) for line in axes.lines}) == 20


def test_curve_files(tmp_path: Path) -> None:
    written = save_curves(
        {"CAMO": {"one": FLAT, "模型": FALLING}, "NC 4K": {"one": FLAT, "模型": None}}, tmp_path / "new"
    )
    assert [path.name for path in written] == [f"{name}_{kind}.png" for name in ("CAMO", "NC 4K") for kind in KINDS]
    for path in written:
        assert cv2.imread(str(path)).shape == (540, 720, 3)
