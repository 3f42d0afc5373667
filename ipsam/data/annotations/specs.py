"""Find the files of a set that a mapping describes: two folders, or one of the annotated formats."""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ipsam.data.annotations.categories import Categories
from ipsam.data.annotations.coco import read_coco
from ipsam.data.annotations.columns import read_columns
from ipsam.data.annotations.labelme import read_labelme
from ipsam.data.annotations.yolo import read_yolo
from ipsam.data.files import read_list
from ipsam.data.matching import Files, SetLocation
from ipsam.utils.files import is_file, is_folder


class Kind(NamedTuple):
    """Keys of one kind of set, besides ``name`` and ``list``."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


KINDS = {  # by the key that tells them apart
    "masks": Kind(("images", "masks")),
    "coco": Kind(("coco", "images"), ("category",)),
    "yolo": Kind(("yolo", "images"), ("category",)),
    "labelme": Kind(("labelme",), ("images", "category")),
    "dataset": Kind(("dataset", "split"), ("image", "mask", "category")),
}
WHAT = {"images": "folder of images", "masks": "folder of masks", "list": "list", "coco": "COCO file"}
WHAT |= {"yolo": "folder of YOLO labels", "labelme": "folder of labelme files", "dataset": "folder of a dataset"}
IS_FILE = ("list", "coco")
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")


def locate_own(spec: Mapping[str, object], split: str, root: Path) -> SetLocation:
    """Find the files of a set that a mapping describes; its paths are as typed or below ``root``.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: the mapping lacks a key, has an unknown one or is ambiguous; or the list cannot be read.
    """
    kind = _kind(spec)
    given = {key: str(value) for key, value in spec.items() if value and key != "category"}
    label = f"{given['name']}/{split}"
    found = {key: _as_typed_or_below(root, key, given[key], label) for key in given if key in WHAT and key != "dataset"}
    only = read_list(found["list"]) if "list" in found else None
    if kind == "masks":
        return SetLocation(label=label, images=found["images"], masks=found["masks"], only=only)
    category = Categories() if spec.get("category") in (None, []) else Categories.of(spec["category"], label)
    annotated: Callable[[], tuple[Files, Files]]
    if kind == "dataset":
        source = _dataset(root, given["dataset"], label)
        columns = given.get("image", "image"), given.get("mask", "mask")
        annotated = partial(read_columns, source, given["split"], *columns, category, label)
        return SetLocation(label=label, images=Path(source), masks=Path(source), annotated=annotated, only=only)
    images, masks = found.get("images"), found[kind]
    if kind == "labelme":
        annotated = partial(read_labelme, masks, images, category, label)
    else:
        annotated = partial(read_coco if kind == "coco" else read_yolo, masks, found["images"], category, label)
    return SetLocation(label=label, images=images or masks, masks=masks, annotated=annotated, only=only)


def _kind(spec: Mapping[str, object]) -> str:
    """Return the key of a mapping's kind of set, once its keys and its name are good."""
    kinds = [key for key in KINDS if spec.get(key)] or ["masks"]
    if len(kinds) > 1:
        raise ValueError(f"the dataset {dict(spec)} has {' and '.join(kinds)}; a set takes one of {', '.join(KINDS)}")
    (kind,) = kinds
    required, optional = ("name", *KINDS[kind].required), (*KINDS[kind].optional, "list")
    if missing := [key for key in required if not spec.get(key)]:
        others = ", ".join(key for key in KINDS if key != kind)
        raise ValueError(
            f"the dataset {dict(spec)} lacks {', '.join(missing)}; it needs {', '.join(required[:-1])} and "
            f"{required[-1]} (or one of {others} in place of {kind})"
        )
    if unknown := [str(key) for key in spec if key not in (*required, *optional)]:
        raise ValueError(
            f"the dataset {spec['name']} has the unknown key {', '.join(unknown)}; it takes "
            f"{', '.join((*required, *optional))}"
        )
    if not re.fullmatch(r"\w[\w .+-]{0,99}", str(spec["name"])):
        raise ValueError(
            f"the dataset name {spec['name']!r:.99} also names files: use up to 100 letters, digits, '_', '-', '.', '+'"
        )
    return kind


def _dataset(root: Path, typed: str, label: str) -> Path | str:
    """Return the folder of a dataset, or the name of its Hub repository."""
    try:
        return _as_typed_or_below(root, "dataset", typed, label)
    except FileNotFoundError as error:
        if REPOSITORY.fullmatch(typed):
            return typed
        raise FileNotFoundError(f"{error}, or give the name of a Hub repository, OWNER/NAME") from error


def _as_typed_or_below(root: Path, key: str, typed: str, label: str) -> Path:
    """Find a folder or file that a set names, relative to the current folder or to ``root``."""
    places = list(dict.fromkeys((Path(typed).expanduser(), root / Path(typed).expanduser())))  # equal if absolute
    is_there = is_file if key in IS_FILE else is_folder
    what = WHAT[key]
    found = {os.path.realpath(place): place for place in reversed(places) if is_there(place)}
    if len(found) > 1:
        raise ValueError(
            f"{label}: the {what} {typed} may be {' or '.join(sorted(found))}; give the full path of the one meant"
        )
    if not found:
        shown = " and ".join(os.path.abspath(place) for place in places)
        raise FileNotFoundError(
            f"{label}: the {what} {typed} doesn't exist; looked for {shown}. Check root=FOLDER and the set"
        )
    return next(iter(found.values()))
