"""Errors of the data rooms: each names the file, folder or argument, and the way out."""

import errno
import inspect
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.defaults import data_with
from support.fuzzing import clear
from support.map_files import MASK, pairs_in, save

from ipsam.data import cache
from ipsam.data.benchmarks import KNOWN
from ipsam.data.cache import cached
from ipsam.data.files import read_list
from ipsam.data.images import image_size, read_image, read_mask
from ipsam.data.layouts import dataset_pairs
from ipsam.data.matching import SetLocation
from ipsam.data.pairs import Pair, find_pairs
from ipsam.data.saved_maps.map_pairs import SavedMap, pair_maps, truth_files
from ipsam.data.saved_maps.map_sets import find_maps, find_truths
from ipsam.data.saved_maps.maps import read_map
from ipsam.data.sources import FolderSource
from ipsam.data.synthetic.scenes import camouflaged_scene

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pairs in images/ and masks/ of the current folder, and maps for them in maps/."""
    monkeypatch.chdir(tmp_path)
    for stem in "abc":
        for folder in ("images", "masks", "maps"):
            save(Path(folder, f"{stem}.png"))


def error(action: Callable[[], Any], *parts: str, kind: type[Exception] = ValueError) -> str:
    """Run what must fail, check the error's type and that it has all parts, and return its message."""
    with pytest.raises(kind) as caught:
        action()
    message = clear(caught.value, *parts)
    assert all(part in message for part in parts), message
    return message


def pairs(**options: Any) -> list[Pair]:
    return pairs_in(Path("images"), Path("masks"), **options)


def maps(stems: Path | None = None, **options: Any) -> list[SavedMap]:
    (truth,) = find_truths(Path("masks"))
    (found,) = find_maps(Path("maps"), [truth])
    return pair_maps(found, truth_files(truth, stems), **options)


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + b"\0\0\0\0IDAT"


READERS = [read_image, read_mask, read_map, image_size]
FILES: dict[str, tuple[bytes | None, type[Exception], tuple[str, ...]]] = {
    "none.png": (None, FileNotFoundError, ("no such file", "check the path")),
    "empty.png": (b"", ValueError, ("fetch", "leave it out")),
    "text.jpg": (b"<html>404</html>", ValueError, ("none of BMP, JPEG, PNG", "fetch the file again")),
    "bomb.png": (png_header(60_000, 60_000), ValueError, ("60000x60000", "limit of 100 million", "scale it down")),
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("name", FILES)
def test_unusable_file_is_named(read: Callable[[Path], Any], name: str) -> None:
    content, kind, parts = FILES[name]
    if content is not None:
        Path(name).write_bytes(content)
    error(lambda: read(Path(name)), name, *parts, kind=kind)


@pytest.mark.parametrize("read", READERS)
def test_file_without_permission_is_named(read: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("ipsam.data.images.open_regular", refuse)
    error(lambda: read(Path("images/a.png")), "a.png", "Permission denied", "give yourself the right")


def test_folder_without_permission_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    error(lambda: find_truths(Path("masks")), "masks", "Permission denied", "give yourself the right")


@pytest.mark.parametrize("values", [[0, 1], [0, 38], range(20)], ids=str)
def test_mask_of_labels_is_named(values: Any) -> None:
    save(Path("labels.png"), np.array([list(values)], np.uint8))
    shown = ", ".join(map(str, list(values)[:8]))
    error(lambda: read_mask("labels.png"), "labels.png", f"values are {shown}", "none above 128", "multiply by 255")


def test_mask_of_16_bits_is_named() -> None:
    cv2.imwrite("a.png", MASK.astype(np.uint16))
    error(lambda: read_mask("a.png"), "a.png", "uint16", "must be 8-bit")


def add(*names: str, size: tuple[int, int] = (6, 9)) -> Callable[[], None]:
    return lambda: [save(Path(name), np.zeros(size, np.uint8)) for name in names] and None


def write(content: bytes, *names: str) -> Callable[[], None]:
    return lambda: [Path(name).write_bytes(content) for name in names] and None


PAIRS: dict[str, tuple[Callable[[], Any], dict[str, Any], tuple[str, ...]]] = {
    "image without mask": (
        add(*(f"images/x{number}.jpg" for number in range(7))),
        {},
        ("7 of 10 images have no mask", "x0.jpg, x1.jpg", "x4.jpg and 2 more", "add the missing", "exclude=[set/x0,"),
    ),
    "mask without image": (add("masks/z.png"), {}, ("1 of 4 masks have no image", "z.png", "exclude=[set/z]")),
    "two images": (add("images/a.bmp"), {}, ("two images", "a.bmp/a.png", "remove one", "exclude=[set/a]")),
    "two masks": (add("masks/a.bmp"), {}, ("two masks", "a.bmp/a.png", "remove one", "exclude=[set/a]")),
    "unreadable": (
        write(b"<html>", "images/a.png", "masks/c.png"),
        {},
        ("2 of 3 pairs can't be read", "images/a.png", "masks/c.png", "exclude=[set/a,set/c]"),
    ),
    "other size": (
        add("masks/b.png", size=(5, 4)),
        {},
        ("1 of 3 pairs", "b.png 6x9 with mask 5x4", "size_mismatch=resize", "size_mismatch=exclude", "=[set/b]"),
    ),
    "no pair left": (
        add("masks/b.png", size=(5, 4)),
        {"only": ["b"], "size_mismatch": "exclude"},
        ("size_mismatch=exclude leaves no pair", "resize"),
    ),
    "unknown stems": (
        add(),
        {"exclude": ["b.jpg", "typo", "c"]},
        ("exclude names stems", "b.jpg, typo", "without extension", "exclude=[NAME/stem,...]"),
    ),
    "unknown stem of this set": (add(), {"exclude": ["set/typo"]}, ("doesn't have: typo",)),
    "all excluded": (add(), {"exclude": ["a", "b", "c"]}, ("no image left in images", "leaving out 3 by exclude")),
    "no stem matches": (add(), {"stems": "COD10K"}, ("no image left in images", "matching 'COD10K'")),
    "listed without image": (add(), {"only": ["a", "q"]}, ("names stems with no image", ": q", "correct the list")),
}


@pytest.mark.parametrize("case", PAIRS)
def test_faulty_pairs_are_named(case: str) -> None:
    prepare, options, parts = PAIRS[case]
    prepare()
    assert error(lambda: pairs(**options), *parts).startswith("set: ")


def test_size_mismatch_is_one_of_three() -> None:
    untyped = inspect.unwrap(find_pairs)  # past the tests' type checker
    location = SetLocation(label="set", images=Path("images"), masks=Path("masks"))
    error(lambda: untyped(location, size_mismatch="crop"), "size_mismatch=crop", "error, resize, exclude")


def test_missing_or_empty_folder_is_named() -> None:
    action = lambda: pairs_in(Path("images"), Path("none"))  # noqa: E731
    error(action, "set", "folder of masks none", "check root=FOLDER", kind=FileNotFoundError)
    Path("empty").mkdir()
    error(lambda: pairs_in(Path("empty"), Path("masks")), "folder of images empty is empty", "unpack")


def test_list_of_stems_is_named() -> None:
    error(lambda: read_list(Path("val.txt")), "val.txt", "no such list", "a stem a line", kind=FileNotFoundError)
    Path("val.txt").write_bytes("caf\u00e9\n".encode("utf-16"))
    error(lambda: read_list(Path("val.txt")), "val.txt", "not UTF-8", "save it as UTF-8")


@pytest.mark.parametrize("name", KNOWN)
def test_benchmark_not_found_names_layouts_and_ways_out(name: str) -> None:
    parts = (f"{name}/test: not found in none", "no such folder", "TestDataset/", "root=FOLDER", "test=[...]")
    folders = f"{{name: {name}, images: FOLDER, masks: FOLDER}}"
    error(lambda: dataset_pairs(name, "test", "none"), *parts, folders, kind=FileNotFoundError)


SPECS: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "unknown name": ("COD11K", "test", ("'COD11K'", "known are COD10K, CAMO", "ETIS", "mapping")),
    "unknown split": ("NC4K", "train", ("NC4K", "no split 'train'", "only test")),
    "missing key": ({"name": "mine", "images": "a"}, "test", ("lacks masks", "needs name, images and masks")),
    "unknown key": (
        {"name": "mine", "images": "a", "masks": "b", "mask": "c"},
        "test",
        ("mine", "unknown key mask", "takes name, images, masks, list"),
    ),
    "name of a path": ({"name": "../x", "images": "a", "masks": "b"}, "test", ("'../x'", "use letters, digits")),
}


@pytest.mark.parametrize("case", SPECS)
def test_faulty_spec_is_named(case: str) -> None:
    spec, split, parts = SPECS[case]
    error(lambda: dataset_pairs(spec, split, "."), *parts)


def data(**options: Any) -> Any:
    return data_with(**{"image_size": 64, "root": Path()} | options)


OWN = {"name": "own", "images": "images", "masks": "masks"}
OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"train": [OWN], "val": [OWN], "val_fraction": 0.1}, "data: val and val_fraction exclude each other: set one"),
    ({"val_fraction": 1.0}, "data.val_fraction must be a number of at least 0 and below 1, not 1.0"),
    ({"val_fraction": -0.1}, "data.val_fraction must be"),
    ({"cache": "cache", "augment": {"crop": 0.5}}, "set cache=null or augment.crop=1"),
    ({"image_size": 4097}, "data.image_size must be a whole number of pixels from 1 to 4,096, not 4097"),
    ({"synthetic": {"num_test": 0}}, "from 1 to 1,000,000, not 0"),
    ({"synthetic": {"num_train": 10**9}}, "data.synthetic.num_train must be"),
    ({"synthetic": {"difficulty": [0.5, 0.2]}}, "data.synthetic.difficulty must be [lowest, highest] within [0, 1]"),
    ({"synthetic": {"difficulty": [0.0, 1.2]}}, "data.synthetic.difficulty must be"),
    ({"synthetic": {"difficulty": [0.5]}}, "data.synthetic.difficulty must be"),
    ({"synthetic": {"colour": 1}}, "data.synthetic.colour: unknown key; there are "),
    ({"augment": {"colour": 1}}, "data.augment.colour: unknown key; there are "),
    ({"augment": {"hflip": 1.5}}, "data.augment.hflip must be"),
    ({"augment": {"vflip": -0.1}}, "data.augment.vflip must be"),
    ({"augment": {"crop": 0.0}}, "data.augment.crop must be"),
    ({"augment": {"crop": 1.1}}, "data.augment.crop must be"),
    ({"augment": {"rotate": -1.0}}, "data.augment.rotate must be"),
    ({"augment": {"jitter": -0.1}}, "data.augment.jitter must be"),
    ({"augment": {"jitter": float("nan")}}, "data.augment.jitter must be a number of at least 0, not nan"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=str)
def test_impossible_option_is_named(options: dict[str, Any], message: str) -> None:
    error(lambda: data(**options), message)


def test_sets_that_cannot_be_used_are_named() -> None:
    error(lambda: data(test=[OWN, OWN]).test_sets(), "test=[...] names own more than once")
    alone = data(train=[OWN], val_fraction=0.5, exclude=["b", "c"])
    error(lambda: alone.train_and_val(seed=0), "val_fraction=0.5 of 1 training pairs leaves none")


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
    error(lambda: maps(**options), *parts)


def test_missing_list_of_stems_is_named() -> None:
    error(lambda: maps(Path("none.txt")), "stems=none.txt", "no such file", kind=FileNotFoundError)


def test_map_whose_header_lied_is_named() -> None:
    saved = SavedMap("a", save(Path("a.png"), MASK[:3]), Path("masks/a.png"))
    error(saved, "a.png: 3x9 pixels", "its mask has 6x9", "resize=true")


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_name_that_cannot_be_printed_is_shown_escaped() -> None:
    Path("maps/a.png").rename(os.fsdecode(b"maps/caf\xe9.png"))
    error(maps, r"caf\xe9", "not UTF-8", "rename it")


@pytest.mark.parametrize("kind", ["maps", "masks", "images"])
@pytest.mark.parametrize("folder", ["none", "images/a.png"])
def test_missing_folder_of_maps_or_masks_is_named(kind: str, folder: str) -> None:
    actions = {
        "maps": lambda: find_maps(Path(folder), []),
        "masks": lambda: find_truths(Path(folder)),
        "images": lambda: find_truths(Path("masks"), Path(folder)),
    }
    error(actions[kind], f"{kind}={folder}: no ", "check the path", kind=FileNotFoundError)


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
    error(lambda: find_truths(Path("CAMO")), *parts)


def test_missing_images_are_named() -> None:
    add("data/CAMO/a.png", "data/ETIS/a.png", "other/a.png")()
    error(lambda: find_truths(Path("data"), Path("other")), "no images of CAMO in other", "set images=FOLDER")


FOLDERS: dict[str, tuple[str, ...]] = {
    "m/One/CAMOU": ("m/One/CAMOU fit no dataset", "there are CAMO, NC4K", "rename"),
    "m/One": ("m/One may belong to any of CAMO, NC4K", "put them into a folder named like"),
    "m": ("m may belong to any of CAMO, NC4K",),
    "m/One/CAMO/deep": ("no maps in m/One/CAMO", "directly in it", "fill the folder"),
    "m/CAMO m/One": ("m/One fit no dataset", "there are CAMO, NC4K"),
    "m/CAMO/One": ("m/CAMO/One fit no dataset",),
    "m/One/CAMO m/One/camo": ("both m/One/CAMO and m/One/camo stand for the dataset CAMO", "take one"),
    "m/One/CAMO m/Two/CAMO m": ("m holds pictures (a.png)", "(One, Two)", "set maps=FOLDER"),
    "m/One/CAMO m/One": ("m/One holds pictures (a.png)", "(CAMO)", "set maps=FOLDER"),
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
    error(lambda: find_maps(Path("m"), find_truths(Path("data"))), *FOLDERS[made])


def source() -> FolderSource:
    return FolderSource([Pair(stem, Path(f"images/{stem}.png"), Path(f"masks/{stem}.png")) for stem in "abc"])


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    ways_out = ("make room there", "name another folder", "cache=null")
    error(lambda: cached(source(), Path("file"), image_size=32), "cache=file", "(File exists)", *ways_out)
    monkeypatch.setattr(cache, "_write", full)
    error(lambda: cached(source(), Path("new"), image_size=32), "cache=new", "(No space left on device)", *ways_out)
    assert [path.suffix for path in Path("new").iterdir()] in ([], [".lock"])


def test_cached_pair_that_cannot_be_read_is_named() -> None:
    Path("images/b.png").write_bytes(Path("images/b.png").read_bytes()[:60])
    error(lambda: cached(source(), Path("cache"), image_size=32), "b.png: broken")
    Path("images/b.png").unlink()
    error(lambda: cached(source(), Path("cache"), image_size=32), "b.png", kind=FileNotFoundError)
    assert not list(Path("cache").glob("*.bin"))


@pytest.mark.parametrize("difficulty", [-0.1, 1.5, float("nan")])
def test_impossible_scene_is_named(difficulty: float) -> None:
    rng = np.random.default_rng(0)
    action = lambda: camouflaged_scene(rng, size=64, difficulty=difficulty)  # noqa: E731
    error(action, f"difficulty is {difficulty}", "between 0", "and 1")
    error(lambda: camouflaged_scene(rng, size=31, difficulty=0.5), "size is 31 px", "at least 32")
