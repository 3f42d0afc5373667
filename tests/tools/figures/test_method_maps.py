"""Saved maps of other methods are found by method, dataset and stem; test_errors.py has the errors."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from ipsam.tools.figures.method_maps import maps_of, method_folders


def test_methods_with_the_dataset_are_found(tree: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    """Other datasets beside it and methods without it are no error; aliases of the dataset's name match."""
    tree("maps/B/CAMO", "maps/A/camo", "maps/A/NC4K", "maps/C/NC4K", "maps/D", "maps/.hidden/CAMO")
    tree("maps/Polyp/Kvasir")
    Path("maps/B/COD10K").mkdir()
    Path("maps/notes.txt").touch()
    with caplog.at_level(logging.INFO):
        assert method_folders(Path("maps"), "CAMO") == {"A": Path("maps/A/camo"), "B": Path("maps/B/CAMO")}
    assert "maps: no maps of CAMO, passed over: C, D, Polyp" in caplog.text
    assert method_folders(Path("maps"), "Kvasir-SEG") == {"Polyp": Path("maps/Polyp/Kvasir")}


def test_selection_finds_maps_under_the_whole_sets_name(tree: Callable[..., None]) -> None:
    tree("maps/A/CVC-ClinicDB", "maps/B/CVC-ClinicDB", "maps/B/CVC-ClinicDB-62")
    for name, folder in (("CVC-ClinicDB-612", "CVC-ClinicDB"), ("cvc-clinicdb-62", "CVC-ClinicDB-62")):
        assert method_folders(Path("maps"), name) == {
            "A": Path("maps/A/CVC-ClinicDB"),
            "B": Path("maps/B", folder),
        }


def test_maps_are_found_by_stem(tree: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    tree("A/CAMO")  # a.png and b.png
    folder = Path("A/CAMO")
    assert maps_of(folder, ["b", "a"]) == [folder / "b.png", folder / "a.png"]
    assert "no map" not in caplog.text
    assert maps_of(folder, ["x", "a", "y"]) == [None, folder / "a.png", None]
    assert "A/CAMO: no map of x, y" in caplog.text
