"""Columns show the maps to the value, in the documented colours."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ipsam.data.sources import Sample
from ipsam.tools.figures.columns import (
    DIMMED,
    ENERGY_COLOURS,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    GATE_COLOURS,
    Column,
    coloured,
    comparison,
    errors,
    grey,
    mechanism,
    patch,
    ramp,
)
from ipsam.tools.figures.view import WIDTH, FigureModel, View, view

RED, GREEN, BLUE = range(3)
FIGURE_4 = ["Image", "Baseline", "Ours", "Error", "P⁺", "P⁻", "Gate", "Energy change"]


@pytest.fixture
def views(subject: FigureModel, sample: Sample) -> list[View]:
    flipped = Sample("b", np.ascontiguousarray(sample.image[::-1, :60]), np.ascontiguousarray(sample.mask[::-1, :60]))
    return [view(subject, sample), view(subject, flipped)]


def by_title(columns: list[Column]) -> dict[str, Column]:
    return {column.title: column for column in columns}


def same(column: Column, expected: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(column.cells, expected, strict=True))


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def test_figure_4(views: list[View]) -> None:
    columns = mechanism(views, [replace(one, prob=1 - one.prob) for one in views])
    shown = by_title(columns)
    assert list(shown) == FIGURE_4
    assert same(shown["Image"], [one.image for one in views])
    assert same(shown["Baseline"], [grey(1 - one.prob) for one in views])
    assert same(shown["Ours"], [grey(one.prob) for one in views])
    assert same(shown["Error"], [errors(one.image, one.prob, one.truth) for one in views])
    assert same(shown["P⁺"], [grey(one.fg) for one in views])
    assert same(shown["P⁻"], [grey(one.bg) for one in views])
    assert same(shown["Gate"], [coloured(1 - one.gate, GATE_COLOURS) for one in views])
    for column in columns:
        assert [cell.shape for cell in column.cells if cell is not None] == [(40, 70, 3), (40, 60, 3)]
    positive, fp, negative, fn = shown["Error"].key
    assert (fp, fn) == ("FP", "FN")
    assert np.array_equal(positive, patch(FALSE_POSITIVE))
    assert np.array_equal(negative, patch(FALSE_NEGATIVE))
    low, colours, high = shown["Gate"].key
    assert (low, high) == ("suppressed", "kept")
    assert np.array_equal(colours, ramp(GATE_COLOURS))
    assert [title for title, column in shown.items() if column.key] == ["Error", "Gate", "Energy change"]


@pytest.mark.parametrize("factor", [0, 1, 2])
def test_rows_share_the_energy_scale(views: list[View], factor: int) -> None:
    assert views[0].energy is not None
    energies = [views[0].energy * bool(factor), views[0].energy * factor]
    highest = float(energies[1].max())
    column = by_title(mechanism([replace(views[0], energy=energy) for energy in energies], []))["Energy change"]
    assert same(column, [coloured(energy / (highest or 1), ENERGY_COLOURS) for energy in energies])
    low, colours, high = column.key
    assert (low, high) == ("0", f"{highest:.3g}")
    assert np.array_equal(colours, ramp(ENERGY_COLOURS))


@pytest.mark.parametrize(
    ("absent", "left_out"),
    [
        (["gate"], ["Gate"]),
        (["gate", "energy"], ["Gate", "Energy change"]),
        (["fg", "bg", "gate", "energy"], ["P⁺", "P⁻", "Gate", "Energy change"]),
    ],
)
def test_missing_parts_have_no_column(views: list[View], absent: list[str], left_out: list[str]) -> None:
    bare = [replace(one, **dict.fromkeys(absent)) for one in views]
    expected = [title for title in FIGURE_4 if title not in ["Baseline", *left_out]]
    assert list(by_title(mechanism(bare, []))) == expected


def test_figure_3(views: list[View], tmp_path: Path) -> None:
    """Ours precedes the baseline; saved maps may have any format and size."""
    values = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    cv2.imwrite(str(tmp_path / "8.png"), values)
    cv2.imwrite(str(tmp_path / "16.png"), values.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / "f.tif"), (values / 255).astype(np.float32))
    cv2.imwrite(str(tmp_path / "large.png"), np.full((10, 2 * WIDTH), 51, np.uint8))
    methods = {
        "One": [tmp_path / "8.png", tmp_path / "16.png"],
        "Another": [None, tmp_path / "f.tif"],
        "Large": [tmp_path / "large.png"] * 2,
    }
    columns = comparison(views, [replace(one, prob=1 - one.prob) for one in views], methods)
    shown = by_title(columns)
    assert list(shown) == ["Image", "Truth", "Ours", "Baseline", "One", "Another", "Large"]
    assert same(shown["Truth"], [grey(one.truth) for one in views])
    assert same(shown["Ours"], [grey(one.prob) for one in views])
    assert same(shown["Baseline"], [grey(1 - one.prob) for one in views])
    assert same(shown["One"], [np.repeat(values[..., None], 3, axis=2)] * 2)
    assert shown["Another"].cells[0] is None
    assert np.array_equal(shown["Another"].cells[1], np.repeat(values[..., None], 3, axis=2))
    assert np.array_equal(shown["Large"].cells[0], np.full((5, WIDTH, 3), 51))
    assert not any(column.key for column in columns)
    assert list(by_title(comparison(views, [], {}))) == ["Image", "Truth", "Ours"]


def test_probabilities_are_grey() -> None:
    assert grey(row(0, 0.5, 1)).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]


def test_errors_are_coloured_by_kind_and_size() -> None:
    image = np.full((1, 6, 3), 200, np.uint8)
    drawn = errors(image, row(0, 1, 1, 0, 0.5, 0.25), row(0, 1, 0, 1, 0, 1))
    behind = 200 * DIMMED
    assert drawn.dtype == np.uint8
    assert drawn[0, :2].tolist() == [[round(behind)] * 3] * 2  # both are right
    assert tuple(drawn[0, 2]) == FALSE_POSITIVE
    assert tuple(drawn[0, 3]) == FALSE_NEGATIVE
    np.testing.assert_allclose(drawn[0, 4], behind / 2 + np.array(FALSE_POSITIVE) / 2, atol=0.5)
    np.testing.assert_allclose(drawn[0, 5], behind / 4 + np.array(FALSE_NEGATIVE) * 3 / 4, atol=0.5)


def test_image_behind_errors_is_grey() -> None:
    image = np.array([[[255, 0, 0], [0, 255, 0], [255, 255, 255]]], np.uint8)
    drawn = errors(image, row(0, 0, 0), row(0, 0, 0))
    assert (drawn == drawn[..., :1]).all()
    assert drawn[0, :, 0].tolist() == [round(76 * DIMMED), round(150 * DIMMED), round(255 * DIMMED)]  # luminance


def test_gate_is_red_where_it_keeps_and_dark_blue_where_it_suppresses(views: list[View]) -> None:
    shown = [replace(views[0], gate=row(1, 0.5, 0, 0.9, 0.1))]
    (cell,) = by_title(mechanism(shown, []))["Gate"].cells
    assert cell is not None
    suppressed, half, kept, mostly_suppressed, mostly_kept = cell[0].astype(int)
    assert suppressed[BLUE] > suppressed[RED] > suppressed[GREEN]
    assert suppressed.max() < 100
    assert kept[RED] > 100
    assert kept[RED] > 10 * kept[[GREEN, BLUE]].max()
    assert half[GREEN] > half[[RED, BLUE]].max()
    assert mostly_suppressed[BLUE] > 2 * mostly_suppressed[RED]
    assert mostly_kept[RED] > 3 * mostly_kept[BLUE]


def test_larger_changes_are_brighter_and_warmer() -> None:
    drawn = coloured(np.linspace(0, 1, 9, dtype=np.float32)[None], ENERGY_COLOURS).astype(int)
    assert drawn[0, 0].max() < 10
    assert drawn[0, -1].min() > 150
    assert (np.diff(drawn[0].sum(1)) > 0).all()
    assert (drawn[0, 5:, RED] > 200).all()


def test_keys_show_the_colours_of_the_maps() -> None:
    assert patch((1, 2, 3)).tolist() == [[[1, 2, 3]]]
    for colours in (GATE_COLOURS, ENERGY_COLOURS):
        assert (ramp(colours)[0, [0, -1]] == coloured(row(0, 1), colours)[0]).all()
