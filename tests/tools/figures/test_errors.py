"""Errors name the option or file and the way out; tests/cli/test_visualize_errors.py has more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.figure_runs import SETS
from support.figure_runs import figure_config as config

from ipsam.data.sources import Sample
from ipsam.tools.figures.columns import Column, comparison
from ipsam.tools.figures.draw import FigureRequest, by_name
from ipsam.tools.figures.page import GAP, LARGEST, draw_page, save_page
from ipsam.tools.figures.view import WIDTH, FigureModel, view

ROWS = LARGEST // (WIDTH + GAP) + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stems": ["a"], "best": 2}, "stems and best given; say which"),
        ({"best": 2.5}, "best must be .* 1 or above, not 2.5"),
        ({"best": True}, "best must be .* 1 or above, not True"),
        ({"stems": []}, r"stems is a list of images: write stems=\[a,b\], not \[\]"),
        ({"stems": [1e5]}, r"stems must be names, not 100000\.0; if that is one, quote it twice: stems='\[\"10"),
        ({"stems": [True]}, "stems must be names, not True"),
        ({"stems": [None]}, "stems must be names, not None"),
    ],
)
def test_invalid_requests(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FigureRequest.of(config(**changes))


def black(height: int) -> np.ndarray:
    return np.zeros((height, height, 3), np.uint8)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (
            lambda folder: by_name(SETS, ["x", "a", "a.jpg"]),
            ValueError,
            r"stems: no image is called x, a\.jpg \(CAMO has 3: a, b, c; NC4K has 2: b, d\).*data\.test=\[NAME\]",
        ),
        (
            lambda folder: draw_page([Column("image", [black(1)] * ROWS)]),
            ValueError,
            rf"{ROWS} rows of 1 columns would be 480 x \d+ pixels, .*choose fewer images",
        ),
        (
            lambda folder: save_page(draw_page([Column("image", [black(9)])]), str(folder / "none" / "page")),
            FileNotFoundError,
            r"none/page\.png",
        ),
    ],
    ids=["stem", "size", "folder"],
)
def test_impossible_figures(
    tmp_path: Path, act: Callable[[Path], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        act(tmp_path)


def test_damaged_map_is_named(subject: FigureModel, sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a\.png: the image header can't be read \(none of BMP"):
        comparison([view(subject, sample)], [], {"One": [tmp_path / "a.png"]})


def test_image_with_non_finite_logits_is_named(subject: FigureModel, sample: Sample) -> None:
    with torch.no_grad():
        next(subject.model.refine.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="a: the model's logits are not finite; its training has diverged"):
        view(subject, sample)
