"""Maps of a COCO file: results, a list of scored masks; or a dataset, whose annotations may have a score."""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipsam.data.annotations.coco import entries_of, image_stem, shapes_of
from ipsam.data.decoding.limits import MAX_BYTES, Size
from ipsam.data.drawings import Drawing, check_pycocotools
from ipsam.data.files import some
from ipsam.data.items import Item
from ipsam.utils.untrusted import bounded_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CocoMap(Item):
    """Map of an image: in each pixel the highest score of the masks there, 0 without any.

    Attributes:
        size: (height, width).
        masks: the masks with their scores.
    """

    size: Size
    masks: list[tuple[float, Drawing]] = field(repr=False, compare=False)

    def key(self) -> str:
        """Return a hash of the masks and their scores."""
        shown = repr([(score, drawing.key()) for score, drawing in self.masks])
        return hashlib.sha256(shown.encode()).hexdigest()[:32]

    def read(self) -> NDArray[np.float32]:
        """Draw the map, of 0 to 1; ValueError if a mask cannot be drawn."""
        values = np.zeros(self.size, np.float32)
        for score, drawing in self.masks:
            np.maximum(values, np.float32(score) * (drawing.draw(self.size) > 0), out=values)
        return values


def coco_maps(path: Path, sizes: Mapping[str, Size]) -> dict[str, list[CocoMap]]:
    """Read the maps of a COCO file by stem.

    An image in a list of results is known by its id, which is the stem of its mask, leading zeros aside; as in COCO,
    nothing was found in an image without results. A dataset lists its images with their names.

    Args:
        path: the file.
        sizes: (height, width) of the masks by stem.

    Raises:
        ValueError: the file is broken, an image is unknown, or a mask or score is invalid.
    """
    check_pycocotools(str(path))
    content = bounded_json(path, MAX_BYTES)
    annotations: Sequence[Any]
    if isinstance(content, list):
        annotations, stems = content, _stems_by_id(sizes, path)
    else:
        annotations = entries_of(content, "annotations", path)
        stems = {one["id"]: image_stem(one, path) for one in entries_of(content, "images", path)}
        if twice := [stem for stem, num in Counter(stems.values()).items() if num > 1]:
            raise ValueError(f"{path}: several images have the stem {some(twice)}; give each a name of its own")
    masks: dict[str, list[tuple[float, Drawing]]] = {stem: [] for stem in stems.values()}
    for number, one in enumerate(annotations):
        name = f"result {number}"
        image, score = (one.get("image_id"), one.get("score", 1)) if isinstance(one, dict) else (None, 1)
        if not isinstance(image, int | str) or image not in stems:
            raise ValueError(
                f"{path}: {name} has the image_id {image!r:.99}, which is no mask's: the masks are {some(sizes, 3)}; "
                "set masks=FOLDER to theirs, or give a COCO dataset, whose list of images has their names"
            )
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise ValueError(f"{path}: {name} has the score {score!r:.99}; it must be a number from 0 to 1")
        try:
            shapes = tuple(shapes_of(one.get("segmentation"), name))
        except ValueError as error:
            raise ValueError(f"{path}: {name} {error}; correct or remove it") from error
        masks[stems[image]].append((score, Drawing(path, shapes)))
    if empty := [stem for stem, found in masks.items() if not found and stem in sizes]:
        logger.warning(
            "%s: %d of %d masks have no result and an empty map: %s", path, len(empty), len(sizes), some(empty)
        )
    return {
        stem: [CocoMap(path.with_name(f"{path.name} ({stem})"), sizes[stem], found)]
        for stem, found in masks.items()
        if stem in sizes
    }


def _stems_by_id(stems: Iterable[str], path: Path) -> dict[int | str, str]:
    found: dict[int | str, str] = {stem: stem for stem in stems}
    for stem in filter(str.isdecimal, stems):
        if (other := found.setdefault(int(stem), stem)) != stem:
            raise ValueError(
                f"{path}: an image_id may mean either of the masks {other} and {stem}, which have the same number; "
                "give a COCO dataset, whose list of images has their names"
            )
    return found
