import os
from pathlib import Path

import pytest

from ipsam.data.saved_maps.map_sets import Truth, find_maps, find_truths, method_name


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
def test_dataset_is_known_by_its_masks(tree, kind: str) -> None:
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


def test_coco_files_stand_for_folders_of_maps(tree, caplog: pytest.LogCaptureFixture) -> None:
    """One for each method, each dataset, or both; beside folders they are no maps."""
    tree("data/CAMO/GT", "data/ETIS/GT", "mixed/One")
    for name in (
        "alone/A.json",
        "alone/v1.5.json",
        "sets/camo.json",
        "both/A/CAMO.json",
        "both/B/ETIS.json",
        "mixed/B.json",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert maps("alone", "data/CAMO") == [("A", "CAMO", "alone/A.json"), ("v1.5", "CAMO", "alone/v1.5.json")]
    assert maps("sets", "data") == maps("sets/camo.json", "data") == [(None, "CAMO", "sets/camo.json")]
    assert maps("both", "data") == [("A", "CAMO", "both/A/CAMO.json"), ("B", "ETIS", "both/B/ETIS.json")]
    caplog.set_level("INFO")
    assert maps("mixed", "data/CAMO") == [("One", "CAMO", "mixed/One")]
    assert "mixed: not read, as there are folders: B.json" in caplog.text
    Path("alone/A.JSON").touch()
    with pytest.raises(ValueError, match="alone holds two COCO files named A; take one of them out"):
        maps("alone", "data/CAMO")


def test_single_method_is_named_after_its_folder(tree) -> None:
    found = [Truth("CVC-ClinicDB", Path("masks"), None)]
    assert method_name(Path("PraNet/CVC-ClinicDB"), found) == "PraNet"
    assert method_name(Path("results/PraNet"), found) == "PraNet"
