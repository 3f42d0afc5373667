"""Errors name the option or file and the way out; tests/cli/test_errors.py has those of the whole command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.figure_runs import figure_config as config
from support.map_files import save

from ipsam.data.sources import Sample
from ipsam.engine.evaluate.page import GAP, LARGEST, WIDTH, Column, draw_page, save_page
from ipsam.tools.figures.draw import FigureRequest
from ipsam.tools.figures.method_maps import maps_of, method_folders
from ipsam.tools.figures.view import FigureModel, view

ROWS = LARGEST // (WIDTH + GAP) + 1
MAPS = Path("maps")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stems": ["a"], "best": 2}, "stems and best given; say which"),
        ({"best": 2.5}, "best must be .* 1.*, not 2.5"),
        ({"stems": []}, r"stems is a list of images: write stems=\[a,b\], not \[\]"),
        ({"stems": [True]}, "stems must be names, not True"),
        ({"stems": [None]}, "stems must be names, not None"),
    ],
)
def test_invalid_option_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FigureRequest.of(config(**changes))


def page(size: int, rows: int = 1) -> Any:
    return draw_page([Column("image", [np.zeros((size, size, 3), np.uint8)] * rows)])


@pytest.mark.parametrize(
    ("folders", "act", "message"),
    [
        ([], lambda: page(1, ROWS), rf"{ROWS} rows of 1 columns would be 480 x \d+ pixels, .*choose fewer images"),
        (["x"], lambda: save_page(page(9), "x/a.png/page"), r"x/a\.png"),
        (["maps/CAMO", "maps/A/COD10K"], lambda: method_folders(MAPS, "CAMO"),  # a method's folder, not one of methods
         r"maps=maps: no method has maps of CAMO; they lie in METHOD/CAMO/\*.png below it, .* the folders A, CAMO"),
        (["empty"], lambda: method_folders(Path("empty"), "CAMO"), r"maps=empty: no method has .*\*.png below it$"),
        (["maps/A/CAMO", "maps/A/camo"], lambda: method_folders(MAPS, "CAMO"),
         "both maps/A/CAMO and maps/A/camo stand for the dataset CAMO; take one of"),
    ],
)  # fmt: skip
def test_impossible_figure_is_explained(
    tree: Callable[..., None], folders: list[str], act: Callable[[], object], message: str
) -> None:
    tree(*folders)
    with pytest.raises((ValueError, OSError), match=message):
        act()


@pytest.mark.usefixtures("tree")
def test_folder_without_maps_counts_as_none() -> None:
    (MAPS / "A/NC4K").mkdir(parents=True)
    with pytest.raises(ValueError, match="maps=maps: no method has maps of NC4K"):
        method_folders(MAPS, "NC4K")


def test_two_maps_of_one_stem_are_named(tree: Callable[..., None]) -> None:
    tree("A/CAMO")
    save(Path("A/CAMO/b.tif"))
    assert maps_of(Path("A/CAMO"), ["a"]) == [Path("A/CAMO/a.png")]  # b is not needed
    with pytest.raises(ValueError, match=r"maps with the same stem in A/CAMO: b.png and b.tif; remove one of them"):
        maps_of(Path("A/CAMO"), ["a", "b"])


def test_image_with_non_finite_logits_is_named(subject: FigureModel, sample: Sample) -> None:
    with torch.no_grad():
        next(subject.model.refine.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="a: the model's logits are not finite; its training has diverged"):
        view(subject, sample)
