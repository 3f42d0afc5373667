"""Masks of a COCO file: the instances of an image, united."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ipsam.data.annotations.categories import Categories
from ipsam.data.decoding.limits import MAX_BYTES, Size
from ipsam.data.drawings import Drawing, Runs, Shape, as_points, check_pycocotools, decompressed
from ipsam.data.files import normal_stem
from ipsam.data.items import Stored
from ipsam.data.matching import Files
from ipsam.utils.untrusted import bounded_json


def read_coco(path: Path, images: Path, category: Categories, label: str) -> tuple[Files, Files]:
    """Read the images and masks that a COCO file lists.

    Instances are polygons or run lengths (RLE); crowds count as objects. An image without instances is background.

    Args:
        path: the file.
        images: folder that its file names are relative to.
        category: the categories that are foreground, by name or id.
        label: the set's name in messages.

    Raises:
        ValueError: the file is broken; an annotation has no image or category; or it has no such category.
    """
    check_pycocotools(label)
    content = bounded_json(path, MAX_BYTES)
    listed, annotations, known = (entries_of(content, key, path) for key in ("images", "annotations", "categories"))
    names = {one["id"]: str(one.get("name")) for one in known}
    chosen = category.ids(names, path)
    stems = {one["id"]: image_stem(one, path) for one in listed}
    shapes: dict[Any, list[Shape]] = defaultdict(list)
    problems: dict[Any, str] = {}
    for number, one in enumerate(annotations):
        name = f"annotation {one.get('id', f'at index {number}')!s:.99}"
        image, of = one.get("image_id"), one.get("category_id")
        for key, value, existing in (("image_id", image, stems), ("category_id", of, names)):
            if not isinstance(value, int | str) or value not in existing:
                raise ValueError(
                    f"{path}: {name} has the {key} {value!r:.99}, which no entry of "
                    f"{'images' if key == 'image_id' else 'categories'} has; correct or remove it"
                )
        if of in chosen and image not in problems:
            try:
                shapes[image] += shapes_of(one.get("segmentation"), name)
            except ValueError as error:
                problems[image] = f"{name} {error}; correct or remove it"
    image_of: dict[str, list[Stored]] = defaultdict(list)
    mask_of: dict[str, list[Stored]] = defaultdict(list)
    for one in listed:
        key, file = one["id"], images / one["file_name"].replace("\\", "/")
        try:
            size, problem = _size(one), problems.get(key, "")
        except ValueError as error:
            size, problem = None, str(error)
        drawing = Drawing(
            path.with_name(f"{path.name} ({file.name})"), tuple(shapes[key]), size, image=file, problem=problem
        )
        image_of[stems[key]].append(file)
        mask_of[stems[key]].append(drawing)
    return image_of, {stem: drawings[:1] for stem, drawings in mask_of.items()}


def entries_of(content: Any, key: str, path: Path) -> Sequence[Mapping[str, Any]]:
    """Return one of a file's lists, whose entries are mappings and, but for annotations, have an id each."""
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise ValueError(f"{path}: no COCO file: it needs the lists images, annotations and categories; {key} is none")
    if key != "annotations":
        ids = [one.get("id") for one in entries]
        if not all(isinstance(one, int | str) for one in ids) or len(set(ids)) < len(ids):
            raise ValueError(f"{path}: the entries of {key} need an id each, a number or text that no other has")
    return entries


def image_stem(image: Mapping[str, Any], path: Path) -> str:
    """Return the stem of an image's entry.

    Raises:
        ValueError: its file name is no file's, or leads out of the folder.
    """
    name = image.get("file_name")
    if not isinstance(name, str) or not name.isprintable() or not Path(name.replace("\\", "/")).name:
        raise ValueError(f"{path}: image {image['id']!s:.99} has the file_name {name!r:.99}, which is no file's")
    file = Path(name.replace("\\", "/"))
    if file.is_absolute() or ".." in file.parts:
        raise ValueError(
            f"{path}: image {image['id']!s:.99} lies outside of the folder of images ({name!r:.200}); name the folder "
            "that its file_name is relative to"
        )
    return normal_stem(file.stem)


def _size(image: Mapping[str, Any]) -> Size | None:
    """Return (height, width) of an image's entry; None where it has neither."""
    size = image.get("height"), image.get("width")
    if size == (None, None):
        return None
    if not all(isinstance(side, int) and side > 0 for side in size):
        raise ValueError(f"image {image['id']!s:.99} has the height and width {size!r:.99}; correct them")
    return size  # type: ignore[return-value]


def shapes_of(segmentation: Any, name: str) -> list[Shape]:
    """Read polygons or run lengths.

    Args:
        segmentation: of an annotation.
        name: of the shapes, in messages.

    Raises:
        ValueError: there are none.
    """
    if isinstance(segmentation, dict):
        return [Shape(name, _runs(segmentation.get("counts")), segmentation.get("size"))]
    if not segmentation or not isinstance(segmentation, list):
        raise ValueError("has no segmentation, and its box alone is no mask")
    return [Shape(name, as_points(polygon)) for polygon in segmentation]


def _runs(counts: Any) -> Runs:
    """Read run lengths, a list of them or compressed."""
    try:
        return np.asarray(counts, np.int64).reshape(-1) if isinstance(counts, list) else decompressed(counts.encode())
    except (AttributeError, TypeError, OverflowError) as error:
        raise ValueError("has counts that are no run lengths") from error
