"""Columns show the maps to the value, in the documented colours."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ipsam.data.sources import Sample
from ipsam.engine.evaluate.page import SCALE, WIDTH, Column, grey
from ipsam.engine.inference.drawing import gate_map
from ipsam.tools.figures.columns import (
    DIMMED,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    comparison,
    energy_map,
    errors,
    mechanism,
    patch,
)
from ipsam.tools.figures.view import FigureModel, View, view

RED, GREEN, BLUE = range(3)
FIGURE_4 = ["Image", "Truth", "Baseline", "Ours", "Error", "P⁺", "P⁻", "Gate decision", "Energy change"]


@pytest.fixture
def views(subject: FigureModel, sample: Sample) -> list[View]:
    flipped = Sample("b", np.ascontiguousarray(sample.image[::-1, :60]), np.ascontiguousarray(sample.mask[::-1, :60]))
    return [view(subject, sample), view(subject, flipped)]


def by_title(columns: list[Column]) -> dict[str, Column]:
    return {column.title: column for column in columns}


def same(column: Column, expected: list[Any]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(column.cells, expected, strict=True))


def key_of(column: Column) -> list[Any]:
    return [part if isinstance(part, str) else part.tolist() for part in column.key]


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def test_figure_4_shows_every_part(views: list[View]) -> None:
    columns = mechanism(views, [replace(one, prob=1 - one.prob) for one in views])
    shown = by_title(columns)
    expected: dict[str, list[Any]] = {
        "Image": [one.image for one in views],
        "Truth": [grey(one.truth) for one in views],
        "Baseline": [grey(1 - one.prob) for one in views],
        "Ours": [grey(one.prob) for one in views],
        "Error": [errors(one.image, one.prob, one.truth) for one in views],
        "P⁺": [grey(one.fg) for one in views],
        "P⁻": [grey(one.bg) for one in views],
        "Gate decision": [gate_map(one.gate) for one in views],
    }
    assert list(shown) == FIGURE_4 == [*expected, "Energy change"]
    assert all(same(shown[title], cells) for title, cells in expected.items())
    for column in columns:
        assert [cell.shape for cell in column.cells if cell is not None] == [(40, 70, 3), (40, 60, 3)]
    assert key_of(shown["Error"]) == [patch(FALSE_POSITIVE).tolist(), "FP", patch(FALSE_NEGATIVE).tolist(), "FN"]
    assert key_of(shown["Gate decision"]) == ["suppressed 0", gate_map(1 - SCALE).tolist(), "1"]
    assert [title for title, column in shown.items() if not column.key] == ["Image"]
    for title in ("Truth", "Baseline", "Ours", "P⁺", "P⁻"):
        assert key_of(shown[title]) == ["0", grey(SCALE).tolist(), "1"]


@pytest.mark.parametrize("factor", [0, 1, 2])
def test_rows_share_the_energy_scale(views: list[View], factor: int) -> None:
    assert views[0].energy is not None
    energies = [views[0].energy * bool(factor), views[0].energy * -factor]
    limit = float(np.abs(energies[1]).max()) or 1.0
    column = by_title(mechanism([replace(views[0], energy=energy) for energy in energies], []))["Energy change"]
    assert same(column, [energy_map(energy / limit) for energy in energies])
    assert key_of(column) == [f"\N{MINUS SIGN}{limit:.3g}", energy_map(2 * SCALE - 1).tolist(), f"+{limit:.3g}"]


def test_energy_is_red_where_it_grows_and_blue_where_it_shrinks(views: list[View]) -> None:
    """No change is white; equal changes of either sign are equally dark."""
    shown = [replace(views[0], energy=row(4, 1, 0, -1, -4))]
    (cell,) = by_title(mechanism(shown, []))["Energy change"].cells
    assert cell is not None
    most, more, same, less, least = cell[0].astype(int)
    assert most[RED] > 2 * most[BLUE]
    assert least[BLUE] > 2 * least[RED]
    assert more[RED] > more[BLUE]
    assert less[BLUE] > less[RED]
    assert same.min() > 240
    assert more.sum() > most.sum()
    assert less.sum() > least.sum()


@pytest.mark.parametrize(
    ("absent", "left_out"),
    [
        (["gate"], ["Gate decision"]),
        (["gate", "energy"], ["Gate decision", "Energy change"]),
        (["fg", "bg", "gate", "energy"], ["P⁺", "P⁻", "Gate decision", "Energy change"]),
    ],
)
def test_missing_parts_have_no_column(views: list[View], absent: list[str], left_out: list[str]) -> None:
    bare = [replace(one, **dict.fromkeys(absent)) for one in views]
    expected = [title for title in FIGURE_4 if title not in ["Baseline", *left_out]]
    assert list(by_title(mechanism(bare, []))) == expected


def test_figure_3_shows_saved_maps_beside_both_models(views: list[View], tmp_path: Path) -> None:
    large = np.full((10, 2 * WIDTH), 51, np.uint8)
    cv2.imwrite(str(tmp_path / "large.png"), large)
    others = [replace(one, prob=1 - one.prob) for one in views]
    columns = comparison(views, others, {"One": [None, tmp_path / "large.png"]})
    assert [column.title for column in columns] == ["Image", "Truth", "Ours", "Baseline", "One"]
    assert same(columns[3], [grey(1 - one.prob) for one in views])
    assert same(columns[4], [None, np.full((5, WIDTH, 3), 51)])
    assert [key_of(column) for column in columns] == [[], *[["0", grey(SCALE).tolist(), "1"]] * 4]
    assert list(by_title(comparison(views, [], {}))) == ["Image", "Truth", "Ours"]


def test_errors_are_coloured_by_kind_and_size_over_the_grey_image() -> None:
    image = np.array([[[255, 0, 0], [0, 255, 0], *[[200] * 3] * 4]], np.uint8)
    drawn = errors(image, row(0, 1, 1, 0, 0.5, 0.25), row(0, 1, 0, 1, 0, 1))
    behind = 200 * DIMMED
    assert drawn.dtype == np.uint8
    assert drawn[0, :2].tolist() == [[round(luminance * DIMMED)] * 3 for luminance in (76, 150)]  # both are right
    assert tuple(drawn[0, 2]) == FALSE_POSITIVE
    assert tuple(drawn[0, 3]) == FALSE_NEGATIVE
    np.testing.assert_allclose(drawn[0, 4], behind / 2 + np.array(FALSE_POSITIVE) / 2, atol=0.5)
    np.testing.assert_allclose(drawn[0, 5], behind / 4 + np.array(FALSE_NEGATIVE) * 3 / 4, atol=0.5)


def test_gate_is_red_where_it_keeps_and_dark_blue_where_it_suppresses(views: list[View]) -> None:
    shown = [replace(views[0], gate=row(1, 0.5, 0, 0.9, 0.1))]
    (cell,) = by_title(mechanism(shown, []))["Gate decision"].cells
    assert cell is not None
    suppressed, half, kept, mostly_suppressed, mostly_kept = cell[0].astype(int)
    assert suppressed[BLUE] > suppressed[RED] > suppressed[GREEN]
    assert suppressed.max() < 100
    assert kept[RED] > 100
    assert kept[RED] > 10 * kept[[GREEN, BLUE]].max()
    assert half[GREEN] > half[[RED, BLUE]].max()
    assert mostly_suppressed[BLUE] > 2 * mostly_suppressed[RED]
    assert mostly_kept[RED] > 3 * mostly_kept[BLUE]
