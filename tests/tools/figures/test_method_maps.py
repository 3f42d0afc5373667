import logging
from pathlib import Path

import pytest
from support.map_files import save

from ipsam.tools.figures.method_maps import maps_of, method_folders


def test_every_method_that_has_the_dataset(tree, caplog: pytest.LogCaptureFixture) -> None:
    """Other datasets beside it, and methods without it, are no error; a dataset goes by any of its names."""
    tree("maps/B/CAMO", "maps/A/camo", "maps/A/NC4K", "maps/C/NC4K", "maps/D", "maps/.hidden/CAMO")
    tree("maps/Polyp/Kvasir")
    Path("maps/B/COD10K").mkdir()
    Path("maps/notes.txt").touch()
    with caplog.at_level(logging.INFO):
        assert method_folders(Path("maps"), "CAMO") == {"A": Path("maps/A/camo"), "B": Path("maps/B/CAMO")}
    assert "maps: no maps of CAMO, passed over: C, D, Polyp" in caplog.text
    assert method_folders(Path("maps"), "Kvasir-SEG") == {"Polyp": Path("maps/Polyp/Kvasir")}


def test_no_maps(tree) -> None:
    tree("maps/CAMO")
    Path("empty").mkdir()
    Path("maps/A/NC4K").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="maps=none: no such folder; check the path"):
        method_folders(Path("none"), "CAMO")
    told = r"no method has maps of CAMO; they lie in METHOD/CAMO/\*.png below it, and there are the folders A, CAMO"
    with pytest.raises(ValueError, match=f"maps=maps: {told}"):  # a single method's folder: its level is missing
        method_folders(Path("maps"), "CAMO")
    with pytest.raises(ValueError, match=r"maps=maps: no method has maps of NC4K"):  # its folder is empty
        method_folders(Path("maps"), "NC4K")
    with pytest.raises(ValueError, match=r"maps=empty: no method has maps of CAMO; .*\*.png below it$"):
        method_folders(Path("empty"), "CAMO")


def test_two_folders_for_one_dataset(tree) -> None:
    tree("maps/A/CAMO", "maps/A/camo")
    with pytest.raises(ValueError, match="both maps/A/CAMO and maps/A/camo stand for the dataset CAMO; take one of"):
        method_folders(Path("maps"), "CAMO")


def test_maps_by_stem(tree, caplog: pytest.LogCaptureFixture) -> None:
    tree("A/CAMO")  # a.png and b.png
    folder = Path("A/CAMO")
    assert maps_of(folder, ["b", "a"]) == [folder / "b.png", folder / "a.png"]
    assert "no map" not in caplog.text
    assert maps_of(folder, ["x", "a", "y"]) == [None, folder / "a.png", None]
    assert "A/CAMO: no map of x, y" in caplog.text


def test_two_maps_with_one_stem(tree) -> None:
    tree("A/CAMO")
    save(Path("A/CAMO/b.tif"))
    assert maps_of(Path("A/CAMO"), ["a"]) == [Path("A/CAMO/a.png")]  # it is not asked for
    with pytest.raises(ValueError, match=r"maps with the same stem in A/CAMO: b.png and b.tif; remove one of them"):
        maps_of(Path("A/CAMO"), ["a", "b"])
