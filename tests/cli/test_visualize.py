"""The command visualize: which images it shows, and what it writes."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.defaults import data_with
from support.figure_runs import num_columns, read, rows, write_run, write_set
from support.saved_maps import mask_of, save

from ipsam.engine.evaluate.page import GAP, KEY, TITLE, WIDTH, Column, resized
from ipsam.engine.runs.configuration import as_dict, read_config
from ipsam.tools.figures import draw
from ipsam.tools.figures.columns import mechanism
from ipsam.tools.figures.view import load_figure_model, view

NUM_FULL = 8  # columns of the full model without a baseline


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Column]]:
    """Collect the columns of each figure by its stem, instead of drawing it, which takes seconds."""
    figures: dict[str, list[Column]] = {}

    def keep(columns: list[Column], stem: str) -> list[Path]:
        figures[stem] = columns
        return [Path(f"{stem}.png")]

    monkeypatch.setattr(draw, "draw_page", lambda columns: columns)
    monkeypatch.setattr(draw, "save_page", keep)
    return figures


def shows(picture: np.ndarray, columns: Sequence[Column]) -> bool:
    """Compare a page with its columns, except for the frame of each image."""
    assert num_columns(picture) == len(columns)
    header = TITLE + (KEY if any(column.key for column in columns) else 0)
    for number, column in enumerate(columns):
        left, top = number * (WIDTH + GAP), header
        for cell in column.cells:
            assert cell is not None
            height = round(WIDTH * cell.shape[0] / cell.shape[1])
            expected = resized(cell, (height, WIDTH))[3:-3, 3:-3]
            if not np.array_equal(picture[top + 3 : top + height - 3, left + 3 : left + WIDTH - 3], expected):
                return False
            top += height + GAP
        assert picture.shape[0] == top - GAP
    return True


def pdf_is_whole(path: str) -> bool:
    content = Path(path).read_bytes()
    return content.startswith(b"%PDF") and content.rstrip().endswith(b"%%EOF") and b"/Type3" not in content


def test_figure_4_shows_the_models_output(visualize: Callable[..., Any], run: Path) -> None:
    """Images in the given order, beside a baseline of another input size, drawn into the run's folder."""
    other = write_run("base", [write_set("unused", "a")], "model.gating=null", image_size=96)
    done = visualize("baseline=base", "stems=[c,a]")
    assert done.status == 0
    assert rows(done) == ["c", "a"]
    assert "  run/figures/mechanism_own.png\n  run/figures/mechanism_own.pdf" in done.out
    assert sorted(path.name for path in Path("run/figures").iterdir()) == ["mechanism_own.pdf", "mechanism_own.png"]
    config = read_config(run / "config.yaml")
    source = data_with(**as_dict(config.data)).test_sets()["own"].source
    subjects = load_figure_model(run, config), load_figure_model(other, read_config(other / "config.yaml"))
    assert [one.image_size for one in subjects] == [64, 96]
    ours, baseline = ([view(one, source.read(index, epoch=0)) for index in (2, 0)] for one in subjects)
    columns = mechanism(ours, baseline)
    assert len(columns) == NUM_FULL + 1
    assert shows(read("run/figures/mechanism_own.png"), columns)
    assert pdf_is_whole("run/figures/mechanism_own.pdf")


@pytest.mark.usefixtures("undrawn")
def test_worst_and_best_images_are_chosen_by_score(visualize: Callable[..., Any], script: Callable[..., Any]) -> None:
    """Scores are computed if there are none, and read from the run's file once there are."""
    predicted = visualize("worst=3")
    assert "own: no scores at hand, so all 4 images are predicted" in predicted.out
    assert not Path("run/eval").exists()  # only ipsam eval writes scores
    assert script("eval", "ckpt=run").status == 0
    with Path("run/eval/per_image.csv").open(newline="") as file:
        scored = list(csv.DictReader(file))
    by_sm = [f"{row['name']} (Sm {float(row['sm']):.4f})" for row in sorted(scored, key=lambda row: float(row["sm"]))]
    by_mae = [f"{row['name']} (MAE {float(row['mae']):.4f})" for row in sorted(scored, key=lambda r: float(r["mae"]))]
    done = visualize("worst=3")
    assert rows(done) == rows(predicted) == by_sm[:3]
    assert "scores of own: run/eval/per_image.csv" in done.out
    assert rows(visualize("worst=9", "metric=mae")) == by_mae[::-1]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_most_specific_scores_go_first(visualize: Callable[..., Any], script: Callable[..., Any]) -> None:
    """Scores of all sets serve a figure of one; those of this set and protocol go first."""
    spec = f"{{name: own, images: {Path.cwd()}/own/images, masks: {Path.cwd()}/own/masks}}"
    assert script("eval", "ckpt=run").status == 0
    done = visualize("worst=1", f"data.test=[{spec}]")
    assert "scores of own: run/eval/per_image.csv" in done.out
    assert "scores of own: run/eval/per_image.csv" in visualize("worst=1", "data.exclude=[a]").out
    assert script("eval", "ckpt=run", f"data.test=[{spec}]").status == 0
    assert "scores of own: run/eval/own/per_image.csv" in visualize("worst=1", f"data.test=[{spec}]").out
    other = "protocol={min_max: false}"
    assert "no scores at hand" in visualize("worst=1", other).out
    assert script("eval", "ckpt=run", other).status == 0
    assert "scores of own: run/eval/min_max=false/per_image.csv" in visualize("worst=1", other).out


def test_each_set_has_its_figure(script: Callable[..., Any], undrawn: dict[str, list[Column]]) -> None:
    """Of those that hold a chosen image; names may look like numbers or exponents."""
    write_run("two", [write_set("first", ["007", "1_2"]), write_set("second", ["1_2", "1e5"], (60, 50))])
    done = script("visualize", "ckpt=two", "stems=[1e5,1_2]", "out=named")
    assert rows(done) == ["1_2", "1e5", "1_2"]
    assert {stem: len(columns[0].cells) for stem, columns in undrawn.items()} == {
        "named/mechanism_first": 1,
        "named/mechanism_second": 2,
    }
    undrawn.clear()
    assert rows(script("visualize", "ckpt=two", "stems=[007]", "out=one")) == ["007"]
    assert list(undrawn) == ["one/mechanism_first"]
    assert len(rows(script("visualize", "ckpt=two", "best=1", "out=best"))) == 2


def test_figure_3_shows_every_method(visualize: Callable[..., Any]) -> None:
    """Maps of other sets are ignored; a missing map leaves a gap; a method without maps is left out."""
    for number, stem in enumerate("abcd"):
        save(Path(f"maps/One/own/{stem}.png"), np.full((48, 64), 30 * number, np.uint8))
    save(Path("maps/Two/Own/b.png"), np.full((30, 30), 77, np.uint8))
    save(Path("maps/Three/own/d.png"), mask_of(0))
    save(Path("maps/Three/CAMO/a.png"), mask_of(0))
    save(Path("maps/Four/CAMO/a.png"), mask_of(0))
    done = visualize("figure=comparison", "maps=maps", "stems=[b,c]", "out=figures")
    assert done.status == 0
    assert "maps/Two/Own: no map of c" in done.out
    assert "maps/Three/own: no map of b, c" in done.out
    assert "maps: no maps of own, passed over: Four" in done.out
    page = read("figures/comparison_own.png")
    assert num_columns(page) == 5  # image, truth, ours, One, Two
    header = TITLE + KEY
    assert page.shape[0] == header + 2 * 360 + GAP
    truth, _, one, two = (page[:, number * (WIDTH + GAP) :][:, :WIDTH] for number in range(1, 5))
    masks = [resized(np.repeat(mask_of(number)[..., None], 3, axis=2), (360, WIDTH)) for number in (1, 2)]
    for row, mask in enumerate(masks):
        top = header + row * (360 + GAP)
        np.testing.assert_array_equal(truth[top + 3 : top + 357, 3:-3], mask[3:-3, 3:-3])
        assert (one[top + 3 : top + 357, 3:-3] == 30 * (row + 1)).all()
    assert (two[header + 3 : header + 357, 3:-3] == 77).all()
    assert (two[header + 360 + GAP + 3 :][:50, 3:-3] == 240).all()
    assert pdf_is_whole("figures/comparison_own.pdf")


@pytest.mark.usefixtures("undrawn")
def test_changed_data_is_noticed(visualize: Callable[..., Any]) -> None:
    Path("run/data.json").write_text('{"test/own": {"num_images": 9, "sha256": "x"}}')
    assert "test/own has changed since the run began: 9 images then, 4 now" in visualize("stems=[a]").out
