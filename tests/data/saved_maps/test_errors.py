"""Errors of saved maps and the masks they belong to: each names the file or folder, and the way out."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.map_files import MASK, add, refused, save, write

from ipsam.data.saved_maps.map_pairs import SavedMap, pair_maps, truth_files
from ipsam.data.saved_maps.map_sets import find_maps, find_truths

pytestmark = pytest.mark.usefixtures("three_pairs")


def maps(stems: Path | None = None, **options: Any) -> list[SavedMap]:
    (truth,) = find_truths(Path("masks"))
    (found,) = find_maps(Path("maps"), [truth])
    return pair_maps(found, truth_files(truth, stems), **options)


MAPS: dict[str, tuple[Callable[[], Any], dict[str, Any], tuple[str, ...]]] = {
    "missing maps": (
        add(*(f"masks/x{number:02}.png" for number in range(53))),
        {},
        ("53 of 56 masks have no map", "x00, x01", "x49 and 3 more", "stems=FILE", "missing=exclude"),
    ),
    "no map fits": (
        lambda: [path.rename(path.with_stem(f"{path.stem}_pred")) for path in list(Path("maps").iterdir())],
        {"missing": "exclude"},
        ("the maps are a_pred, b_pred, c_pred", "the masks a, b, c", "name each map like its mask"),
    ),
    "two maps": (add("maps/a.tif"), {}, ("maps with the same stem in maps", "a.png and a.tif", "remove one of each")),
    "two masks": (add("masks/a.tif"), {}, ("masks with the same stem", "a.png and a.tif", "remove one of each")),
    "other size": (add("maps/b.png", size=(3, 4)), {}, ("1 of 3 maps differ", "b.png 3x4, mask 6x9", "resize=true")),
    "turned map": (add("maps/b.png", size=(9, 6)), {}, ("b.png 9x6, mask 6x9; 1 look turned by 90", "EXIF orient")),
    "unreadable maps": (write(b"", "maps/a.png", "maps/b.png"), {}, ("2 of 3 maps can't", "maps/a.png", "maps/b.png")),
    "unreadable mask": (write(b"", "masks/b.png"), {}, ("1 of 3 masks can't", "masks/b.png: the file is empty")),
    "listed without mask": (
        write(b"a\nz\n", "list.txt"),
        {"stems": Path("list.txt")},
        ("1 of the 2 stems in list.txt have no mask in masks: z", "correct the list"),
    ),
    "empty list": (write(b"\n", "list.txt"), {"stems": Path("list.txt")}, ("stems=list.txt", "the list is empty")),
}


@pytest.mark.parametrize("case", MAPS)
def test_faulty_maps_are_named(case: str) -> None:
    prepare, options, parts = MAPS[case]
    prepare()
    refused(lambda: maps(**options), *parts)


def test_missing_list_of_stems_is_named() -> None:
    refused(lambda: maps(Path("none.txt")), "stems=none.txt", "no such file", kind=FileNotFoundError)


def test_map_whose_header_lied_is_named() -> None:
    saved = SavedMap("a", save(Path("a.png"), MASK[:3]), Path("masks/a.png"))
    refused(saved, "a.png: 3x9 pixels", "its mask has 6x9", "resize=true")


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_name_that_cannot_be_printed_is_shown_escaped() -> None:
    Path("maps/a.png").rename(os.fsdecode(b"maps/caf\xe9.png"))
    refused(maps, r"caf\xe9", "not UTF-8", "rename it")


@pytest.mark.parametrize("kind", ["maps", "masks", "images"])
@pytest.mark.parametrize("folder", ["none", "images/a.png"])
def test_missing_folder_of_maps_or_masks_is_named(kind: str, folder: str) -> None:
    actions = {
        "maps": lambda: find_maps(Path(folder), []),
        "masks": lambda: find_truths(Path(folder)),
        "images": lambda: find_truths(Path("masks"), Path(folder)),
    }
    refused(actions[kind], f"{kind}={folder}: no ", "check the path", kind=FileNotFoundError)


SETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "no masks": ("CAMO/Imgs", ("no masks in CAMO", "jpg/", "set masks=FOLDER")),
    "two folders of masks": ("CAMO/GT CAMO/masks", ("CAMO holds masks in GT, masks", "set masks=")),
    "two names": ("CAMO/Kvasir CAMO/Kvasir-SEG", ("CAMO/Kvasir and CAMO/Kvasir-SEG stand for the dataset", "take one")),
    "strays": ("CAMO CAMO/One", ("CAMO holds pictures (a.png)", "folders with pictures (One)", "masks=FOLDER")),
}


@pytest.mark.parametrize("case", SETS)
def test_ambiguous_masks_are_named(case: str) -> None:
    made, parts = SETS[case]
    add(*(f"{folder}/a.png" for folder in made.split()))()
    refused(lambda: find_truths(Path("CAMO")), *parts)


def test_missing_images_are_named() -> None:
    add("data/CAMO/a.png", "data/ETIS/a.png", "other/a.png")()
    refused(lambda: find_truths(Path("data"), Path("other")), "no images of CAMO in other", "set images=FOLDER")


FOLDERS: dict[str, tuple[str, ...]] = {
    "m/One/CAMOU": ("m/One/CAMOU fit no dataset", "there are CAMO, NC4K", "rename"),
    "m/One": ("m/One may belong to any of CAMO, NC4K", "name their folder or file like"),
    "m/One/CAMO/deep": ("no maps in m/One/CAMO", "directly in it", "fill the folder"),
    "m/One/CAMO m/One/camo": ("both m/One/CAMO and m/One/camo stand for the dataset CAMO", "take one"),
    "m/One/CAMO m/Two/CAMO m": ("m holds pictures (a.png)", "(One, Two)", "set maps=FOLDER"),
    "m/One/CAMO m/Two/": ("no maps in m/Two", "take it out of m"),
    "m/": ("no maps in m", "set maps=FOLDER"),
}


@pytest.mark.parametrize("made", FOLDERS)
def test_folders_of_maps_that_fit_no_dataset_are_named(made: str) -> None:
    for folder in made.split():
        Path(folder).mkdir(parents=True, exist_ok=True)
        if not folder.endswith("/"):
            save(Path(folder, "a.png"))
    add("data/CAMO/GT/a.png", "data/NC4K/GT/a.png")()
    refused(lambda: find_maps(Path("m"), find_truths(Path("data"))), *FOLDERS[made])
