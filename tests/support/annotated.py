"""One drawn set in every format that people annotate in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from support.doctor_files import picture, save

SIZES = {"a": (48, 64), "b": (40, 60), "c": (37, 53), "d": (30, 50)}  # (height, width)
# Label, and corners of a polygon, or two of a rectangle; d has none.
SHAPES: Mapping[str, list[tuple[str, list[float]]]] = {
    "a": [("cat", [10, 8, 50.5, 12.25, 44, 40, 12.75, 30.5]), ("dog", [2.5, 30, 20.5, 45])],
    "b": [("cat", [5.2, 5.1, 30.7, 9.3, 18.4, 33.9])],
    "c": [("dog", [0, 0, 53, 0, 26.5, 37]), ("cat", [40, 20, 53, 37])],
    "d": [],
}
LABELS = {"dog": 7, "cat": 3}  # ids of COCO's categories
CLASSES = ["dog", "cat"]  # YOLO's


def corners(points: list[float]) -> list[float]:
    """Return the corners of a polygon, or of the rectangle with two corners."""
    if len(points) > 4:
        return points
    left, top, right, bottom = points
    return [left, top, right, top, right, bottom, left, bottom]


def write_images(folder: Path) -> None:
    for seed, (stem, size) in enumerate(SIZES.items()):
        save(folder / f"{stem}.png", picture(seed, size))


def coco_content() -> dict[str, Any]:
    images, annotations = [], []
    for number, (stem, (height, width)) in enumerate(SIZES.items()):
        images.append({"id": number, "file_name": f"{stem}.png", "height": height, "width": width})
        for label, points in SHAPES[stem]:
            segmentation = [corners(points)]
            one = {"image_id": number, "category_id": LABELS[label], "segmentation": segmentation, "iscrowd": 0}
            annotations.append({"id": 100 + len(annotations)} | one)
    categories = [{"id": number, "name": label} for label, number in LABELS.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_coco(root: Path, content: Any = None) -> dict[str, Any]:
    write_images(root / "coco/images")
    (root / "coco/all.json").write_text(json.dumps(coco_content() if content is None else content))
    return {"name": "own", "coco": "coco/all.json", "images": "coco/images"}


def write_yolo(root: Path) -> dict[str, Any]:
    """Write six digits, as most tools do."""
    write_images(root / "yolo/images")
    (root / "yolo/labels").mkdir()
    for stem, (height, width) in SIZES.items():
        lines = []
        for label, points in SHAPES[stem]:
            shares = np.reshape(corners(points), (-1, 2)) / (width, height)
            lines.append(f"{CLASSES.index(label)} " + " ".join(f"{value:.6f}" for value in shares.ravel()))
        (root / f"yolo/labels/{stem}.txt").write_text("\n".join(lines))
    return {"name": "own", "yolo": "yolo/labels", "images": "yolo/images"}


def labelme_content(stem: str) -> dict[str, Any]:
    shapes = []
    for label, points in SHAPES[stem]:
        kind = "rectangle" if len(points) == 4 else "polygon"
        pairs = np.reshape(points, (-1, 2)).tolist()
        shapes.append({"label": label, "points": pairs, "shape_type": kind, "group_id": None, "flags": {}})
    height, width = SIZES[stem]
    size = {"imageHeight": height, "imageWidth": width}
    return {"version": "5.5.0", "shapes": shapes, "imagePath": f"{stem}.png", "imageData": None} | size


def write_labelme(root: Path) -> dict[str, Any]:
    write_images(root / "labelme")
    for stem in SIZES:
        (root / f"labelme/{stem}.json").write_text(json.dumps(labelme_content(stem)))
    return {"name": "own", "labelme": "labelme"}


WRITERS = {"coco": write_coco, "yolo": write_yolo, "labelme": write_labelme}
