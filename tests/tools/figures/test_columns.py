"""What each column of a figure shows, to the value."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from ipsam.data.sources import Sample
from ipsam.tools.figures.columns import Column, comparison, mechanism
from ipsam.tools.figures.pictures import (
    ENERGY_COLOURS,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    GATE_COLOURS,
    WIDTH,
    energy_change,
    errors,
    gate_decision,
    grey,
    patch,
    ramp,
)
from ipsam.tools.figures.view import Subject, View, view


@pytest.fixture
def seen(subject: Subject, sample: Sample) -> list[View]:
    flipped = Sample("b", np.ascontiguousarray(sample.image[::-1, :60]), np.ascontiguousarray(sample.mask[::-1, :60]))
    return [view(subject, sample), view(subject, flipped)]


def by_title(columns: list[Column]) -> dict[str, Column]:
    return {column.title: column for column in columns}


def same(column: Column, expected: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(column.cells, expected, strict=True))


def test_the_columns_of_figure_4(seen: list[View]) -> None:
    baseline = [replace(one, prob=1 - one.prob) for one in seen]
    columns = mechanism(seen, baseline)
    titles = ["Image", "Baseline", "Ours", "Error", "P⁺", "P⁻", "Gate", "Energy change"]
    assert [column.title for column in columns] == titles
    shown = by_title(columns)
    assert same(shown["Image"], [one.image for one in seen])
    assert same(shown["Baseline"], [grey(1 - one.prob) for one in seen])
    assert same(shown["Ours"], [grey(one.prob) for one in seen])
    assert same(shown["Error"], [errors(one.image, one.prob, one.truth) for one in seen])
    assert same(shown["P⁺"], [grey(one.fg) for one in seen])
    assert same(shown["P⁻"], [grey(one.bg) for one in seen])
    assert same(shown["Gate"], [gate_decision(one.gate) for one in seen])
    for column in columns:
        assert [cell.shape for cell in column.cells if cell is not None] == [(40, 70, 3), (40, 60, 3)]


def test_rows_share_the_scale_of_the_energy(seen: list[View]) -> None:
    assert seen[0].energy is not None
    seen = [seen[0], replace(seen[0], energy=seen[0].energy * 2)]
    highest = float(2 * seen[0].energy.max())
    column = by_title(mechanism(seen, []))["Energy change"]
    assert same(column, [energy_change(one.energy, highest) for one in seen])
    assert column.key[0] == "0"
    assert column.key[2] == f"{highest:.3g}"


def test_colours_are_explained(seen: list[View]) -> None:
    keys = {title: column.key for title, column in by_title(mechanism(seen, [])).items() if column.key}
    assert keys.keys() == {"Error", "Gate", "Energy change"}
    positive, fp, negative, fn = keys["Error"]
    assert (fp, fn) == ("FP", "FN")
    assert np.array_equal(positive, patch(FALSE_POSITIVE))
    assert np.array_equal(negative, patch(FALSE_NEGATIVE))
    low, colours, high = keys["Gate"]
    assert (low, high) == ("suppressed", "kept")
    assert np.array_equal(colours, ramp(GATE_COLOURS))
    assert np.array_equal(keys["Energy change"][1], ramp(ENERGY_COLOURS))


@pytest.mark.parametrize(
    ("absent", "left_out"),
    [
        (["gate"], {"Gate"}),
        (["gate", "energy"], {"Gate", "Energy change"}),
        (["fg", "bg", "gate", "energy"], {"P⁺", "P⁻", "Gate", "Energy change"}),
    ],
)
def test_columns_of_parts_that_are_not_there(seen: list[View], absent: list[str], left_out: set[str]) -> None:
    bare = [replace(one, **dict.fromkeys(absent)) for one in seen]
    assert by_title(mechanism(seen, [])).keys() - by_title(mechanism(bare, [])).keys() == left_out


def test_the_columns_of_figure_3(seen: list[View], tmp_path: Path) -> None:
    """Ours before the baseline, then the methods as they come; a map of any format, at whatever size it was saved."""
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
    columns = comparison(seen, [replace(one, prob=1 - one.prob) for one in seen], methods)
    assert [column.title for column in columns] == ["Image", "Truth", "Ours", "Baseline", "One", "Another", "Large"]
    shown = by_title(columns)
    assert same(shown["Truth"], [grey(one.truth) for one in seen])
    assert same(shown["Ours"], [grey(one.prob) for one in seen])
    assert same(shown["Baseline"], [grey(1 - one.prob) for one in seen])
    assert same(shown["One"], [np.repeat(values[..., None], 3, axis=2)] * 2)
    assert shown["Another"].cells[0] is None
    assert np.array_equal(shown["Another"].cells[1], np.repeat(values[..., None], 3, axis=2))
    assert np.array_equal(shown["Large"].cells[0], np.full((5, WIDTH, 3), 51))
    assert not any(column.key for column in columns)
    assert [column.title for column in comparison(seen, [], {})] == ["Image", "Truth", "Ours"]


def test_a_map_that_can_not_be_read_is_named(seen: list[View], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a\.png: the image header can't be read \(none of BMP"):
        comparison(seen[:1], [], {"One": [tmp_path / "a.png"]})
