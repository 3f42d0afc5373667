import os
from pathlib import Path

import pytest

from ipsam.data.saved_maps.map_sets import MapFolder, Truth, find_maps, find_truths, method_name


def truths(masks: str, images: str | None = None) -> list[tuple[str, str, str | None]]:
    found = find_truths(Path(masks), None if images is None else Path(images))
    shown = [(truth.name, truth.masks, truth.images) for truth in found]
    return [
        (name, *(None if p is None else os.path.relpath(p) for p in (masks, images))) for name, masks, images in shown
    ]


def maps(folder: str, masks: str) -> list[tuple[str | None, str, str]]:
    found = find_maps(Path(folder), find_truths(Path(masks)))
    return [(entry.method, entry.truth.name, entry.folder.as_posix()) for entry in found]


@pytest.mark.parametrize("kind", ["GT", "gt", "masks", "mask", "Mask", "GT_Object", "Ground Truth"])
def test_a_dataset_is_known_by_its_masks(tree, kind: str) -> None:
    tree(f"data/CAMO/{kind}", "data/CAMO/Imgs")
    expected = [("CAMO", f"data/CAMO/{kind}", "data/CAMO/Imgs")]
    assert truths("data") == truths("data/CAMO") == truths(f"data/CAMO/{kind}") == expected


@pytest.mark.parametrize("kind", ["Imgs", "images", "Image", "Original", "im"])
def test_images_are_found_beside_the_masks(tree, kind: str) -> None:
    tree("CAMO/GT", f"CAMO/{kind}")
    assert truths("CAMO") == [("CAMO", "CAMO/GT", f"CAMO/{kind}")]


def test_masks_directly_in_folders(tree) -> None:
    tree("data/B", "data/A", "data/.hidden", "data/__MACOSX", "mine")
    assert truths("data") == [("A", "data/A", None), ("B", "data/B", None)]
    assert truths("mine") == [("mine", "mine", None)]


def test_relative_paths_have_a_name_too(tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree("data/CAMO/GT", "data/CAMO/Imgs")
    monkeypatch.chdir("data/CAMO/GT")
    assert truths(".") == truths("../GT") == [("CAMO", ".", "../Imgs")]


def test_images_from_elsewhere(tree) -> None:
    tree("data/CAMO/GT", "data/ETIS/GT", "data/ETIS/Imgs", "img/CAMO", "img/etis-laribpolypdb/images", "other")
    expected = [("CAMO", "data/CAMO/GT", "img/CAMO"), ("ETIS", "data/ETIS/GT", "img/etis-laribpolypdb/images")]
    assert truths("data", "img") == expected
    assert truths("data/CAMO", "other") == [("CAMO", "data/CAMO/GT", "other")]
    with pytest.raises(ValueError, match="no images of CAMO in other"):
        truths("data", "other")
    with pytest.raises(FileNotFoundError, match="images=none: no such folder"):
        truths("data", "none")


def test_no_masks(tree) -> None:
    tree("CAMO/Imgs", "data/A/B")
    Path("empty").mkdir()
    for folder in ("CAMO", "data", "empty"):
        with pytest.raises(ValueError, match=f"no masks in {folder}: neither jpg/.* set masks=FOLDER"):
            truths(folder)
    with pytest.raises(FileNotFoundError, match="masks=none: no such folder"):
        truths("none")
    with pytest.raises(FileNotFoundError, match=r"masks=CAMO/Imgs/a.png: no folder"):
        truths("CAMO/Imgs/a.png")


def test_two_folders_that_may_be_meant(tree) -> None:
    tree("CAMO/GT", "CAMO/masks", "data/Kvasir", "data/Kvasir-SEG")
    with pytest.raises(ValueError, match="CAMO holds masks in GT, masks; set masks= to the one to use"):
        truths("CAMO")
    with pytest.raises(ValueError, match="both data/Kvasir and data/Kvasir-SEG stand for the dataset"):
        truths("data")


def test_maps_of_one_dataset(tree) -> None:
    tree("data/CAMO/GT", "maps", "methods/One", "methods/Two", "both/One/CAMO", "both/Two/camo", "sets/CAMO")
    assert maps("maps", "data/CAMO") == maps("maps", "data") == [(None, "CAMO", "maps")]
    assert maps("methods", "data/CAMO/GT") == [("One", "CAMO", "methods/One"), ("Two", "CAMO", "methods/Two")]
    assert maps("both", "data/CAMO/GT") == [("One", "CAMO", "both/One/CAMO"), ("Two", "CAMO", "both/Two/camo")]
    assert maps("sets", "data/CAMO/GT") == [(None, "CAMO", "sets/CAMO")]


def test_maps_of_several_datasets(tree) -> None:
    tree("data/ETIS-LaribPolypDB/masks", "data/Kvasir/masks", "data/mine/masks")
    tree("sets/etis", "sets/Kvasir-SEG", "methods/One/Mine", "methods/One/Kvasir", "methods/Two/ETIS", "methods/.git/x")
    assert maps("sets", "data") == [(None, "Kvasir", "sets/Kvasir-SEG"), (None, "ETIS-LaribPolypDB", "sets/etis")]
    assert maps("sets/etis", "data") == [(None, "ETIS-LaribPolypDB", "sets/etis")]
    assert maps("methods", "data") == [
        ("One", "Kvasir", "methods/One/Kvasir"),
        ("One", "mine", "methods/One/Mine"),
        ("Two", "ETIS-LaribPolypDB", "methods/Two/ETIS"),
    ]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("maps/One/CAMOU", "the maps in maps/One/CAMOU fit no dataset: none is named so, there are CAMO, NC4K; rename"),
        ("maps/One", "the maps in maps/One may belong to any of CAMO, NC4K; put them into a folder named like"),
        ("maps", "the maps in maps may belong to any of CAMO, NC4K"),
        ("maps/One/CAMO/deep", r"no maps in maps/One/CAMO \(jpg/.* files directly in it\)"),
        ("maps/CAMO maps/One", "the maps in maps/One fit no dataset: none is named so, there are CAMO, NC4K"),
        ("maps/CAMO/One", "the maps in maps/CAMO/One fit no dataset: none is named so, there are CAMO, NC4K"),
        ("maps/One/CAMO maps/One/camo", "both maps/One/CAMO and maps/One/camo stand for the dataset CAMO"),
    ],
)
def test_folders_that_fit_no_dataset(tree, made: str, message: str) -> None:
    tree("data/CAMO/GT", "data/NC4K/GT", *made.split())
    with pytest.raises(ValueError, match=message):
        maps("maps", "data")


def test_empty_folders_of_maps(tree) -> None:
    tree("data/CAMO/GT", "maps/One")
    Path("empty").mkdir()
    Path("maps/Two").mkdir()
    with pytest.raises(ValueError, match=r"no maps in empty: neither jpg/.* files nor folders; set maps=FOLDER"):
        maps("empty", "data")
    with pytest.raises(ValueError, match="no maps in maps/Two; fill it, or take it out of maps"):
        maps("maps", "data")
    with pytest.raises(FileNotFoundError, match="maps=none: no such folder"):
        maps("none", "data")


def test_what_a_single_method_is_called(tree) -> None:
    found = [Truth("CVC-ClinicDB", Path("masks"), None)]
    assert method_name(Path("PraNet/CVC-ClinicDB"), found) == "PraNet"
    assert method_name(Path("results/PraNet"), found) == "PraNet"


def test_labels_tell_method_and_dataset() -> None:
    truth = Truth("CAMO", Path("masks"), None)
    assert MapFolder(None, truth, Path("maps")).label == "CAMO"
    assert MapFolder("One", truth, Path("maps")).label == "One on CAMO"


@pytest.mark.parametrize(
    ("made", "folder"),
    [
        ("maps/One/CAMO maps/Two/CAMO maps", "maps"),
        ("maps/One maps/Two maps", "maps"),
        ("maps/One/CAMO maps/One", "One"),
    ],
)
def test_pictures_beside_folders_of_maps(tree, made: str, folder: str) -> None:
    tree("data/CAMO/GT", "data/NC4K/GT", *made.split())
    message = rf"{folder} holds pictures \(a\.png, b\.png\) beside folders with pictures \((One, Two|CAMO)\), .* maps; "
    with pytest.raises(ValueError, match=f"{message}move the others out, or set maps=FOLDER"):
        maps("maps", "data")


def test_pictures_beside_folders_of_masks(tree) -> None:
    tree("data/CAMO/GT", "data/NC4K", "data", "flat", "flat/Imgs", "flat/empty/of/pictures")
    message = r"^data holds pictures \(a\.png, b\.png\) beside folders with pictures \(CAMO, NC4K\), .* masks; move"
    with pytest.raises(ValueError, match=message):
        truths("data")
    assert truths("flat") == [("flat", "flat", None)]


def test_a_folder_that_can_not_be_read(tree, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    tree("masks")
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ValueError, match=r"^masks: can't be read \(Permission denied\); give yourself the right"):
        truths("masks")
