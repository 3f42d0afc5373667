"""Errors of the data rooms: each names the file, folder or argument, and the way out."""

import errno
import inspect
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.defaults import data_with
from support.doctor_files import png_header
from support.map_files import add, pairs_in, refused, save, write
from support.saved import failing

from ipsam.data import cache
from ipsam.data.benchmarks import KNOWN
from ipsam.data.cache import cached
from ipsam.data.files import read_list
from ipsam.data.images import image_size, read_image, read_mask
from ipsam.data.layouts import dataset_pairs
from ipsam.data.pairs import Pair, apply_size_mismatch
from ipsam.data.saved_maps.map_sets import find_truths
from ipsam.data.saved_maps.maps import read_map
from ipsam.data.sources import FolderSource
from ipsam.data.synthetic.scenes import camouflaged_scene

pytestmark = pytest.mark.usefixtures("three_pairs")
RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def pairs(**options: Any) -> list[Pair]:
    return pairs_in(Path("images"), Path("masks"), **options)


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
    refused(lambda: read(Path(name)), name, *parts, kind=kind)


@pytest.mark.parametrize("read", READERS)
def test_file_without_permission_is_named(read: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("ipsam.data.images.open_regular", refuse)
    refused(lambda: read(Path("images/a.png")), "a.png", "Permission denied", "give yourself the right")


def test_folder_without_permission_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str | Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    refused(lambda: find_truths(Path("masks")), "masks", "Permission denied", "give yourself the right")


@pytest.mark.parametrize("values", [[0, 1], [0, 38], range(20)], ids=str)
def test_mask_of_labels_is_named(values: Any) -> None:
    save(Path("labels.png"), np.array([list(values)], np.uint8))
    shown = ", ".join(map(str, list(values)[:8]))
    refused(lambda: read_mask("labels.png"), "labels.png", f"values are {shown}", "none above 128", "multiply by 255")


def turn(name: str, orientation: int = 6) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(name, exif=exif)


PAIRS: dict[str, tuple[Callable[[], Any], dict[str, Any], tuple[str, ...]]] = {
    "image without mask": (
        add(*(f"images/x{number}.jpg" for number in range(7))),
        {},
        ("7 of 10 images have no mask", "x0.jpg, x1.jpg", "x4.jpg and 2 more", "add the missing", "exclude=[set/x0,"),
    ),
    "mask without image": (add("masks/z.png"), {}, ("1 of 4 masks have no image", "z.png", "exclude=[set/z]")),
    "two images": (add("images/a.bmp"), {}, ("two images", "a.bmp/a.png", "remove one", "exclude=[set/a]")),
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
    "turned by EXIF": (
        lambda: [turn("images/b.jpg"), Path("images/b.png").unlink(), add("masks/b.png", size=(9, 6))()],
        {},
        ("1 of 3 pairs the mask fits the image only as turned by its EXIF", "b.jpg 6x9 with mask 9x6", "save both up"),
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
    "all excluded": (add(), {"exclude": ["a", "b", "c"]}, ("no image left in images", "leaving out 3 by exclude")),
    "listed without image": (add(), {"only": ["a", "q"]}, ("names stems with no image", ": q", "correct the list")),
}


@pytest.mark.parametrize("case", PAIRS)
def test_faulty_pairs_are_named(case: str) -> None:
    prepare, options, parts = PAIRS[case]
    prepare()
    assert refused(lambda: pairs(**options), *parts).startswith("set: ")


def test_unknown_size_mismatch_is_named() -> None:
    untyped = inspect.unwrap(apply_size_mismatch)  # past the tests' type checker
    refused(lambda: untyped([], {}, "set", "crop"), "size_mismatch=crop", "error, resize, exclude")


def test_missing_or_empty_folder_is_named() -> None:
    action = lambda: pairs_in(Path("images"), Path("none"))  # noqa: E731
    refused(action, "set", "folder of masks none", "check root=FOLDER", kind=FileNotFoundError)
    Path("empty").mkdir()
    refused(lambda: pairs_in(Path("empty"), Path("masks")), "folder of images empty is empty", "unpack")


def test_list_of_stems_is_named() -> None:
    refused(lambda: read_list(Path("val.txt")), "val.txt", "no such list", "a stem a line", kind=FileNotFoundError)
    Path("val.txt").write_bytes("caf\u00e9\n".encode("utf-16"))
    refused(lambda: read_list(Path("val.txt")), "val.txt", "not UTF-8", "save it as UTF-8")


@pytest.mark.parametrize("name", KNOWN)
def test_benchmark_not_found_names_layouts_and_ways_out(name: str) -> None:
    folder = KNOWN[name].layouts["test"][0].folder
    parts = (f"{name}/test: not found in none", "no such folder", folder, "root=FOLDER", "test=[...]")
    folders = f"{{name: {name}, images: FOLDER, masks: FOLDER}}"
    refused(lambda: dataset_pairs(name, "test", "none"), *parts, folders, kind=FileNotFoundError)


SPECS: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "unknown name": ("COD11K", "test", ("'COD11K'", "known are COD10K, CAMO", "ETIS", "mapping")),
    "unknown split": ("NC4K", "train", ("NC4K", "no split 'train'", "only test")),
    "missing key": ({"name": "mine", "images": "a"}, "test", ("lacks masks", "needs name, images and masks")),
    "unknown key": (
        {"name": "mine", "images": "a", "masks": "b", "mask": "c"},
        "test",
        ("mine", "unknown key mask", "takes name, images, masks, list"),
    ),
    "name of 101 letters": ({"name": "x" * 101, "images": "a", "masks": "b"}, "test", ("xxx", "use up to 100 letters")),
    "name of a path": ({"name": "../x", "images": "a", "masks": "b"}, "test", ("'../x'", "letters, digits")),
}


@pytest.mark.parametrize("case", SPECS)
def test_faulty_spec_is_named(case: str) -> None:
    spec, split, parts = SPECS[case]
    refused(lambda: dataset_pairs(spec, split, "."), *parts)


OWN = {"name": "own", "images": "images", "masks": "masks"}


@pytest.mark.parametrize(
    ("key", "what"), [("images", "folder of images"), ("masks", "folder of masks"), ("list", "list")]
)
def test_own_folder_is_found_as_typed_or_below_root(tmp_path: Path, key: str, what: str) -> None:
    """Never silently another: two that differ are refused, and none names both places."""
    root = tmp_path / "root"
    Path("list").write_text("a")
    spec = OWN | {"list": "list"}
    assert [pair.stem for pair in dataset_pairs(spec, "train", root)] == ["a"]
    own = Path(spec[key])
    target = root / own
    target.parent.mkdir(exist_ok=True)
    target.symlink_to(own.absolute())
    assert [pair.stem for pair in dataset_pairs(spec, "train", root)] == ["a"]  # both are the same
    target.unlink()
    own.rename(target)
    assert [pair.stem for pair in dataset_pairs(spec, "train", root)] == ["a"]  # below root
    shutil.copytree(target, own) if own.name != "list" else shutil.copy(target, own)
    places = f"{own.absolute()} or {target}"
    refused(lambda: dataset_pairs(spec, "train", root), f"own/train: the {what} {own} may be {places}", "full path")
    assert [pair.stem for pair in dataset_pairs(spec | {key: str(target)}, "train", root)] == ["a"]
    for path in (own, target):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused(
        lambda: dataset_pairs(spec, "train", root),
        f"own/train: the {what} {own} doesn't exist; looked for {own.absolute()} and {target}",
        kind=FileNotFoundError,
    )


def data(**options: Any) -> Any:
    return data_with(**{"image_size": 64, "root": Path()} | options)


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"train": [OWN], "val": [OWN], "val_fraction": 0.1}, "data: val and val_fraction exclude each other: set one"),
    ({"val_fraction": 1.0}, "data.val_fraction must be a number of at least 0 and below 1, not 1.0"),
    ({"cache": "cache", "augment": {"crop": 0.5}}, "set cache=null or augment.crop=1"),
    (
        {"letterbox": True, "augment": {"crop": 0.5}},
        "data: letterbox keeps an image's aspect ratio, which the crops of",
    ),
    ({"image_size": 4097}, "data.image_size must be a whole number of pixels from 1 to 4,096, not 4097"),
    ({"synthetic": {"num_test": 0}}, "from 1 to 1,000,000, not 0"),
    ({"synthetic": {"difficulty": [0.5, 0.2]}}, "data.synthetic.difficulty must be [lowest, highest] within [0, 1]"),
    ({"augment": {"colour": 1}}, "data.augment.colour: unknown key; there are "),
    ({"augment": {"hflip": 1.5}}, "data.augment.hflip must be"),
    ({"augment": {"jitter": float("nan")}}, "data.augment.jitter must be a number of at least 0, not nan"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS, ids=str)
def test_impossible_option_is_named(options: dict[str, Any], message: str) -> None:
    refused(lambda: data(**options), message)


def test_sets_that_cannot_be_used_are_named() -> None:
    refused(lambda: data(test=[OWN, OWN]).test_sets(), "test=[...] names own more than once")
    alone = data(train=[OWN], val_fraction=0.5, exclude=["b", "c"])
    refused(lambda: alone.train_and_val(seed=0), "val_fraction=0.5 of 1 training pairs leaves none")


def source() -> FolderSource:
    return FolderSource([Pair(stem, Path(f"images/{stem}.png"), Path(f"masks/{stem}.png")) for stem in "abc"])


def test_cache_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").touch()
    ways_out = ("make room there", "name another folder", "cache=null")
    refused(lambda: cached(source(), Path("file"), image_size=32), "cache=file", "(File exists)", *ways_out)
    monkeypatch.setattr(cache, "_write", failing(errno.ENOSPC))
    refused(lambda: cached(source(), Path("new"), image_size=32), "cache=new", "(No space left on device)", *ways_out)
    assert [path.suffix for path in Path("new").iterdir()] in ([], [".lock"])


def test_cached_pair_that_cannot_be_read_is_named() -> None:
    Path("images/b.png").write_bytes(Path("images/b.png").read_bytes()[:60])
    refused(lambda: cached(source(), Path("cache"), image_size=32), "b.png: broken")
    Path("images/b.png").unlink()
    refused(lambda: cached(source(), Path("cache"), image_size=32), "b.png", kind=FileNotFoundError)
    assert not list(Path("cache").glob("*.bin"))


@pytest.mark.parametrize("difficulty", [-0.1, 1.5, float("nan")])
def test_impossible_scene_is_named(difficulty: float) -> None:
    rng = np.random.default_rng(0)
    action = lambda: camouflaged_scene(rng, size=64, difficulty=difficulty)  # noqa: E731
    refused(action, f"difficulty is {difficulty}", "between 0", "and 1")
    refused(lambda: camouflaged_scene(rng, size=31, difficulty=0.5), "size is 31 px", "at least 32")


@pytest.mark.parametrize("size", [(9, 6), (6, 9)], ids=["torn", "unclear"])
def test_mask_of_the_upright_image_is_not_resized_without_a_word(
    size: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    """A mask of a turned photograph may have been drawn on it as stored, or as programs show it."""
    Path("images/b.png").unlink()
    turn("images/b.jpg", orientation=6 if size == (9, 6) else 3)
    add("masks/b.png", size=size)()
    assert len(pairs_in(Path("images"), Path("masks"), size_mismatch="resize")) == 3
    assert f"(orientation: b.jpg {6 if size == (9, 6) else 3}); save both upright" in caplog.text
