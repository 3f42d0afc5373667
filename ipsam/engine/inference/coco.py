"""Masks of pictures in COCO's format: a file for each picture, and one that unites those of a folder."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.decoding.limits import MAX_BYTES
from ipsam.utils.files import write_bytes
from ipsam.utils.lock import hold
from ipsam.utils.untrusted import bounded_json

KINDS = ("coco", "coco_polygons")
CATEGORY = {"id": 1, "name": "object", "supercategory": ""}


def describe(mask: NDArray[np.bool_], file_name: str, *, score: float, polygons: bool) -> dict[str, Any]:
    """Describe the mask (h, w) of a picture as a COCO dataset, without an annotation if it is empty.

    Args:
        mask: object pixels.
        file_name: of the picture.
        score: of the mask.
        polygons: describe it by polygons, which fill its holes, instead of run lengths (RLE), which are exact.
    """
    from pycocotools import mask as coco  # an extra

    height, width = mask.shape
    image = {"id": 1, "file_name": file_name, "height": height, "width": width}
    runs = coco.encode(np.asfortranarray(mask, np.uint8))
    annotation: dict[str, Any] = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "score": score}
    annotation |= {"area": int(mask.sum()), "bbox": coco.toBbox(runs).tolist()}
    annotation["segmentation"] = outlines(mask) if polygons else {**runs, "counts": runs["counts"].decode()}
    return {"images": [image], "annotations": [annotation] if mask.any() else [], "categories": [CATEGORY]}


def outlines(mask: NDArray[np.bool_]) -> list[list[int]]:
    """Return the outer outlines of a mask's parts along the edges of its pixels, as x, y, x, y, ..."""
    # At twice the size, a pixel's first row is its upper edge, and its second row the lower one, rounded up.
    doubled = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [((contour.ravel() + 1) // 2).tolist() for contour in contours]


def unite(output: Path, kind: str, lock: Path) -> Path:
    """Unite the files in the folder ``kind``, which several commands may fill at a time; return the united one.

    Raises:
        ValueError: a file is broken, or is something else.
        OSError: a file cannot be read or written.
    """
    whole: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": [CATEGORY]}
    target = output / f"{kind}.json"
    with hold(lock, wait=True):  # so that the last command finds every file
        for number, path in enumerate(sorted((output / kind).rglob("*.json")), start=1):
            part = bounded_json(path, MAX_BYTES)
            try:
                whole["images"] += [one | {"id": number} for one in part["images"]]
                whole["annotations"] += [one | {"id": number, "image_id": number} for one in part["annotations"]]
            except (TypeError, KeyError) as error:
                raise ValueError(f"{path}: no file of save=[{kind}]; move it out of the folder") from error
        write_bytes(target, json.dumps(whole).encode())
    return target
