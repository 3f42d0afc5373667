"""Masks of labelme's files, one a picture: polygons, rectangles, circles and pixel masks."""

import base64
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ipsam.data.annotations.categories import Categories
from ipsam.data.decoding.limits import MAX_BYTES, Size, check_size
from ipsam.data.drawings import Drawing, Points, Runs, Shape, as_points, as_runs, check_pycocotools
from ipsam.data.files import entries, normal_stem, with_readable_name
from ipsam.data.images import decode_mask
from ipsam.data.items import Encoded, Stored
from ipsam.data.matching import Files
from ipsam.utils.files import is_file
from ipsam.utils.untrusted import bounded_json

MIN_CORNERS, MAX_CORNERS = 64, 10_000  # of the polygon that stands for a circle; else one for each pixel of its outline
AREAS = ("polygon", "rectangle", "circle", "mask")


@dataclass(frozen=True)
class EmbeddedImage(Encoded):
    """Image in labelme's ``imageData``.

    Attributes:
        file: labelme's file.
    """

    file: Path

    def content(self) -> bytes:
        """Read and decode it; ValueError if it is not base64."""
        content = bounded_json(self.file, MAX_BYTES)
        try:
            return base64.b64decode(content["imageData"], validate=True)
        except (LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{self.file}: its imageData is no base64 ({error}); save it again") from error


def read_labelme(folder: Path, images: Path | None, category: Categories, label: str) -> tuple[Files, Files]:
    """Read the images and masks of a folder of labelme's files, by these files' stems.

    The image is the file at ``imagePath``, or else ``imageData``. A file without shapes is background.

    Args:
        folder: folder of labelme's files.
        images: folder of the images, if they do not lie at ``imagePath``.
        category: the labels that are foreground.
        label: the set's name in messages.

    Raises:
        ValueError: the folder holds no such file or cannot be read; or no file has such a label.
    """
    check_pycocotools(label)
    files = [with_readable_name(path) for path in entries(folder) if path.suffix == ".json"]
    if not files:
        raise ValueError(f"{label}: no labelme file (.json) in {folder}; name the folder that holds them")
    shapes: dict[Path, list[tuple[str, Shape]]] = {}
    sizes: dict[Path, Size | None] = {}
    found: dict[Path, Stored] = {}
    problems: dict[Path, str] = {}
    for path in files:
        try:
            content = _content(path)
            found[path] = _image(content, path, images)
            sizes[path] = _size(content)
            shapes[path] = list(_shapes(content, sizes[path], category, path))
        except ValueError as error:
            problems[path] = str(error)
    chosen = category.ids({name: name for of in shapes.values() for name, _ in of}, folder)
    image_of: dict[str, list[Stored]] = {}
    mask_of: dict[str, list[Stored]] = defaultdict(list)
    for path in files:
        drawing = Drawing(
            path,
            tuple(shape for name, shape in shapes.get(path, []) if name in chosen),
            sizes.get(path),
            image=found.get(path),
            problem=problems.get(path, ""),
        )
        stem = normal_stem(path.stem)
        image_of.setdefault(stem, [found.get(path, drawing)])  # where two share a stem, the masks tell
        mask_of[stem].append(drawing)
    return image_of, mask_of


def _content(path: Path) -> Mapping[str, Any]:
    content: Any = bounded_json(path, MAX_BYTES)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(one, dict) for one in shapes):
        raise ValueError("no labelme file: it has no list of shapes; take it out of the folder")
    return dict(content)


def _image(content: Mapping[str, Any], path: Path, images: Path | None) -> Stored:
    name = content.get("imagePath")
    file = Path(name.replace("\\", "/")) if isinstance(name, str) and name.isprintable() else Path()
    if file.name:
        found = path.parent / file if images is None and not file.is_absolute() else (images or path.parent) / file.name
        if is_file(found) or not content.get("imageData"):
            return found
    if content.get("imageData"):
        return EmbeddedImage(path.with_name(f"{path.name} (imageData)"), path)
    raise ValueError("has neither an imagePath nor imageData; save it again by labelme")


def _size(content: Mapping[str, Any]) -> Size | None:
    height, width = content.get("imageHeight"), content.get("imageWidth")
    if height is None or width is None:
        return None
    if not all(isinstance(side, int) and side > 0 for side in (height, width)):
        raise ValueError(f"imageHeight and imageWidth are {height!r:.99} and {width!r:.99}; correct them")
    return height, width


def _shapes(
    content: Mapping[str, Any], size: Size | None, category: Categories, path: Path
) -> Iterator[tuple[str, Shape]]:
    """Yield shapes with their labels; the message of the ValueError follows the file's name."""
    for number, one in enumerate(content["shapes"], 1):
        label, kind = str(one.get("label")), one.get("shape_type") or "polygon"
        name = f"shape {number} ({label:.50})"
        if category.chosen and label not in category.chosen:
            yield label, Shape(name, np.empty((0, 2)))  # it is not drawn, but its label is known
            continue
        if kind not in AREAS:
            raise ValueError(
                f"{name} is a {kind!s:.50}, which has no area; remove it, or choose other labels (category)"
            )
        try:
            points = as_points(one.get("points"))
            yield label, Shape(name, _geometry(kind, points, one.get("mask"), size, path))
        except ValueError as error:
            raise ValueError(f"{name} {error}; correct or remove it") from error


def _geometry(kind: str, points: Points, mask: Any, size: Size | None, path: Path) -> Points | Runs:
    """Return a polygon's corners, or the run lengths of a mask."""
    if kind == "polygon" or (kind == "rectangle" and len(points) == 4):
        return points
    if len(points) != 2:
        raise ValueError(f"has {len(points)} points, and a {kind} has two")
    (left, top), (right, bottom) = points
    if kind == "rectangle":
        return as_points([left, top, right, top, right, bottom, left, bottom])
    if kind == "circle":  # centre, and a point of the outline
        radius = float(np.hypot(right - left, bottom - top))
        num = int(np.clip(2 * np.pi * radius, MIN_CORNERS, MAX_CORNERS)) if np.isfinite(radius) else MIN_CORNERS
        angle = 2 * np.pi * np.arange(num) / num
        circle = np.stack([left + radius * np.cos(angle), top + radius * np.sin(angle)], axis=1)
        is_inside = size is not None and 0 <= left <= size[1] and 0 <= top <= size[0]
        return np.clip(circle, -1, np.array(size)[::-1] + 1) if is_inside else circle  # it may reach out of the image
    if size is None or not np.isfinite(points).all():
        raise ValueError("is a mask, which needs imageHeight, imageWidth and its corners")
    check_size(*size, path)
    try:
        encoded = base64.b64decode(mask, validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"has a mask that is no base64 ({error})") from error
    pixels = decode_mask(encoded, path)
    x, y = round(left), round(top)
    whole = np.zeros(size, np.bool_)
    if x < 0 or y < 0 or whole[y : y + len(pixels), x : x + pixels.shape[1]].shape != pixels.shape:
        raise ValueError(f"has a mask that reaches out of its image of {size[0]}x{size[1]} (height x width)")
    whole[y : y + len(pixels), x : x + pixels.shape[1]] = pixels > 0
    return as_runs(whole)
