"""Faulty annotations: each error names the file, the annotation and the way out, and the doctor finds it too."""

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.annotated import WRITERS, coco_content, labelme_content
from support.defaults import data_with
from support.doctor_files import examined, stops
from support.map_files import refused

from ipsam.data.annotations import specs
from ipsam.data.annotations.coco import MAX_BYTES

Change = Callable[[Path], object]


def coco(*keys: Any, value: Any) -> Change:
    """Change a value of the COCO file; None removes it."""

    def change(root: Path) -> None:
        content = coco_content()
        *way, last = keys
        at: Any = content
        for key in way:
            at = at[key]
        at[last] = value
        (root / "coco/all.json").write_text(json.dumps(content))

    return change


def yolo(line: str) -> Change:
    return lambda root: (root / "yolo/labels/b.txt").write_text(f"\n{line}\n")


def labelme(**changes: Any) -> Change:
    return lambda root: (root / "labelme/b.json").write_text(json.dumps(labelme_content("b") | changes))


def shape(**changes: Any) -> Change:
    return labelme(shapes=[labelme_content("b")["shapes"][0] | changes])


def text(file: str, content: str | bytes) -> Change:
    return lambda root: (root / file).write_bytes(content if isinstance(content, bytes) else content.encode())


def twice(file: str) -> Change:
    """Copy a file to two names that differ in how an accent is stored."""

    def change(root: Path) -> None:
        for name in ("\u00e9", "e\u0301"):
            shutil.copyfile(root / file, (root / file).with_stem(name))

    return change


LAST = ("annotations", 2)  # of image b
ALONE = "exclude=[own/train/b]"  # one pair's error
IN_B = ("all.json (b.png): annotation 102", "correct or remove it", ALONE)
SHAPE = ("b.json: shape 1 (cat)", "correct or remove it", ALONE)
LINE = ("b.txt: line 2", ALONE)
BOMB = {"size": [40, 60], "counts": [2400] + [0] * 10_000 + [1]}
CASES: dict[str, tuple[str, Change, tuple[str, ...]]] = {
    "no JSON": ("coco", text("coco/all.json", '{"images": ['), ("all.json: no JSON (Expecting value: line 1", "again")),
    "no UTF-8": ("coco", text("coco/all.json", b"\xff\xfe"), ("all.json: no JSON", "fetch or save it again")),
    "deep": ("coco", text("coco/all.json", "[" * 100_000), ("all.json: no JSON", "fetch or save it again")),
    "digits": ("coco", text("coco/all.json", "[" + "1" * 5000 + "]"), ("no JSON (Exceeds the limit", "again")),
    "another JSON": ("coco", text("coco/all.json", "[1]"), ("no COCO file: it needs the lists", "images is none")),
    "no categories": ("coco", coco("categories", value={}), ("no COCO file", "categories is none")),
    "id twice": ("coco", coco("images", 1, "id", value=0), ("entries of images need an id each",)),
    "no image of an annotation": ("coco", coco(*LAST, "image_id", value=9), ("annotation 102 has the image_id 9",)),
    "no such category": ("coco", coco(*LAST, "category_id", value=[1]), ("annotation 102 has the category_id [1]",)),
    "upwards": ("coco", coco("images", 1, "file_name", value="../b.png"), ("image 1 lies outside of the folder",)),
    "absolute": ("coco", coco("images", 1, "file_name", value="/b.png"), ("image 1 lies outside of the folder",)),
    "no name": ("coco", coco("images", 1, "file_name", value=7), ("image 1 has the file_name 7",)),
    "zero": ("coco", coco("images", 1, "file_name", value="a\0.png"), ("image 1 has the file_name 'a\\x00.png'",)),
    "two names": ("coco", coco("images", 1, "file_name", value="sub/a.jpg"), ("two images each", "a.png/a.jpg")),
    "no size": ("coco", coco("images", 1, "width", value="60"), ("image 1 has the height and width (40, '60')", ALONE)),
    "large": ("coco", coco("images", 1, "width", value=10**8), ("limit of 100 million", ALONE)),
    "a box": ("coco", coco(*LAST, "segmentation", value=[]), ("annotation 102 has no segmentation", "box", ALONE)),
    "a line": ("coco", coco(*LAST, "segmentation", value=[[1, 2, 3, 4]]), (*IN_B, "has 2 points")),
    "odd": ("coco", coco(*LAST, "segmentation", value=[[1, 2, 3, 4, 5]]), (*IN_B, "holds no list of x and y")),
    "words": ("coco", coco(*LAST, "segmentation", value=["ab"]), (*IN_B, "holds no list of x and y")),
    "outside": ("coco", coco(*LAST, "segmentation", value=[[1, 2, 30, 4, 300.5, 6]]),
                (*IN_B, "has the point (300.5, 6) outside of its image of 40x60")),
    "NaN": ("coco", coco(*LAST, "segmentation", value=[[1, 2, 30, 4, float("nan"), 6]]), (*IN_B, "the point (nan, 6)")),
    "endless": ("coco", coco(*LAST, "segmentation", value=[[0, 0, 60, 40] * 20_000]), (*IN_B, "has an outline of 2,")),
    "short runs": ("coco", coco(*LAST, "segmentation", value={"size": [40, 60], "counts": [5, 7]}),
                   (*IN_B, "run lengths of 12 pixels, where its image has 2,400")),
    "turned runs": ("coco", coco(*LAST, "segmentation", value={"size": [60, 40], "counts": [2000, 400]}),
                    (*IN_B, "has run lengths of the size [60, 40], where its image has [40, 60] (height, width)")),
    "negative runs": ("coco", coco(*LAST, "segmentation", value={"counts": [9, -9, 2400]}), (*IN_B, "has run")),
    "many runs": ("coco", coco(*LAST, "segmentation", value=BOMB), (*IN_B, "has run lengths of 2,401")),
    "no runs": ("coco", coco(*LAST, "segmentation", value={"counts": None}), (*IN_B, "counts that are no run lengths")),
    "other text": ("coco", coco(*LAST, "segmentation", value={"counts": "é#!"}), (*IN_B, "counts that are no run")),
    "cut text": ("coco", coco(*LAST, "segmentation", value={"counts": "PPo"}), (*IN_B, "counts that are no run")),
    "huge text": ("coco", coco(*LAST, "segmentation", value={"counts": "o" * 9 + "0"}), (*IN_B, "more than 32 bits")),
    "YOLO's box": ("yolo", yolo("1 0.5 0.5 0.2 0.2"), (*LINE, "is a box (class x y width height)", "export")),
    "YOLO's even line": ("yolo", yolo("1 0.5 0.5 0.2 0.2 0.3"), (*LINE, "is not `class x y x y ...`", "'1 0.5")),
    "YOLO's name": ("yolo", yolo("cat 0.5 0.5 0.2 0.2 0.3 0.4"), (*LINE, "is not `class x y x y ...`", "'cat 0.5")),
    "YOLO's word": ("yolo", yolo("1 0.5 0.5 0.2 x 0.3 0.4"), (*LINE, "holds no list of x and y", "'1 0.5")),
    "YOLO in pixels": ("yolo", yolo("1 5 5 20 20 30 4"), (*LINE, "the point (5, 5) (shares of the width and height)")),
    "YOLO's NaN": ("yolo", yolo("1 nan 0.5 0.2 0.2 0.3 0.4"), (*LINE, "has the point (nan, 0.5)")),
    "YOLO's line": ("yolo", yolo("1 0.1 0.2 "), (*LINE, "has 1 points, and a polygon has three or more")),
    "YOLO's encoding": ("yolo", text("yolo/labels/b.txt", b"\xff\xfe1"), ("b.txt: is not UTF-8", ALONE)),
    "a folder of labels": ("yolo", lambda root: (root / "yolo/labels/b.txt").unlink() or
                           (root / "yolo/labels/b.txt").mkdir(), ("b.txt: a folder, not a file", ALONE)),
    "no image of labels": ("yolo", text("yolo/labels/z.txt", ""), ("masks have no image", "z.txt", "own/train/z")),
    "no labels": ("yolo", lambda root: [path.unlink() for path in (root / "yolo/labels").iterdir()],
                  ("no label file (.txt) in", "name the folder")),
    "labelme: no JSON": ("labelme", text("labelme/b.json", "{"), ("b.json: no JSON (Expecting", "again", ALONE)),
    "labelme: another": ("labelme", text("labelme/b.json", "[]"), ("b.json: no labelme file", "take it out", ALONE)),
    "labelme: no image": ("labelme", labelme(imagePath=None), ("b.json: has neither an imagePath nor", ALONE)),
    "labelme: no base64": ("labelme", labelme(imagePath="x.png", imageData="?"), ("its imageData is no base64", ALONE)),
    "labelme: no ASCII": ("labelme", labelme(imagePath="x.png", imageData="é"),
                          ("b.json: its imageData is no base64", ALONE)),
    "labelme: no size": ("labelme", labelme(imageWidth=-1), ("imageHeight and imageWidth are 40 and -1", ALONE)),
    "labelme: a point": ("labelme", shape(shape_type="point"), ("(cat) is a point, which has no area", "category")),
    "labelme: a word": ("labelme", shape(points="ab"), (*SHAPE, "holds no list of x and y")),
    "labelme: corners": ("labelme", shape(shape_type="rectangle"), (*SHAPE, "has 3 points, and a rectangle has two")),
    "labelme: circle": ("labelme", shape(shape_type="circle", points=[[900, 5], [900, 9]]), (*SHAPE, "outside of")),
    "labelme: huge circle": ("labelme", shape(shape_type="circle", points=[[5, 5], [1e300, 9]]), ()),
    "labelme: no mask": ("labelme", shape(shape_type="mask", points=[[1, 1], [2, 2]]), (*SHAPE, "is no base64")),
    "labelme: twice": ("labelme", twice("labelme/b.json"), ("1 stems stand for two masks each", "e\u0301.json/")),
    "YOLO: twice": ("yolo", twice("yolo/labels/b.txt"), ("1 stems stand for two masks each", "e\u0301.txt/")),
    "no labelme file": ("labelme", lambda root: [path.unlink() for path in (root / "labelme").glob("*.json")],
                        ("no labelme file (.json) in", "name the folder")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_faulty_annotation_is_named(tmp_path: Path, name: str) -> None:
    kind, change, parts = CASES[name]
    spec = WRITERS[kind](tmp_path)
    change(tmp_path)
    options = {"image_size": 32, "root": tmp_path, "train": [spec]}
    given = data_with(**options)
    diagnosis = examined(given)
    assert diagnosis.would_stop == stops(given) == bool(parts)
    if parts:
        message = refused(lambda: given.train_and_val(0), "own/train" if ALONE in parts else ".", *parts)
        assert len(message) < 1000
        assert message in [finding.message for finding in diagnosis.sets[0].findings]
    if ALONE in parts:
        assert not stops(data_with(**options, exclude=["own/train/b"]))


def test_mask_out_of_the_image_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.ones((5, 9), np.uint8)).save(buffer, "png")
    spec = WRITERS["labelme"](tmp_path)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    shape(shape_type="mask", points=[[55, 1], [63, 5]], mask=encoded)(tmp_path)
    given = data_with(image_size=32, root=tmp_path, train=[spec])
    refused(lambda: given.train_and_val(0), *SHAPE, "a mask that reaches out of its image of 40x60")


@pytest.mark.parametrize("kind", WRITERS)
def test_huge_file_and_missing_package_are_named(tmp_path: Path, monkeypatch: Any, kind: str) -> None:
    spec = WRITERS[kind](tmp_path)
    given = data_with(image_size=32, root=tmp_path, train=[spec])
    file = {"coco": "coco/all.json", "yolo": "yolo/labels/b.txt", "labelme": "labelme/b.json"}[kind]
    with (tmp_path / file).open("wb") as opened:
        opened.truncate(MAX_BYTES + 1)  # of zeros, on most file systems without taking room
    refused(lambda: given.train_and_val(0), Path(file).name, "above the limit of")
    monkeypatch.setattr("ipsam.data.drawings.find_spec", lambda name: None)
    refused(lambda: given.train_and_val(0), "own/train", "pycocotools: pip install -e '.[polygons]'")


SPECS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "two kinds": ({"coco": "a", "yolo": "b", "images": "c"}, ("has coco and yolo", "one of masks, coco, yolo")),
    "no images": ({"coco": "a"}, ("lacks images", "needs name, coco and images", "or one of masks, yolo, labelme")),
    "no split": ({"dataset": "a/b"}, ("lacks split", "needs name, dataset and split")),
    "unknown key": ({"labelme": "a", "label": "b"}, ("unknown key label", "takes name, labelme, images, category")),
    "no category": ({"labelme": ".", "category": {"a": 1}}, ("own/train: category must be a list of names",)),
    "half a category": ({"labelme": ".", "category": [1.5]}, ("[CATEGORY, ...], not [1.5]",)),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_faulty_mapping_is_named(name: str) -> None:
    spec, parts = SPECS[name]
    refused(lambda: specs.locate_own({"name": "own"} | spec, "train", Path()), *parts)


@pytest.mark.parametrize(("key", "what"), [("coco", "COCO file"), ("yolo", "YOLO labels"), ("dataset", "a dataset")])
def test_missing_file_is_named(tmp_path: Path, key: str, what: str) -> None:
    spec = {"name": "own", key: "none", "split": "train"} if key == "dataset" else {"name": "own", key: "none"}
    spec |= {} if key == "dataset" else {"images": str(tmp_path)}
    parts = (f"{what} none doesn't exist; looked for", str(tmp_path / "none"), "Check root=FOLDER and the set")
    refused(lambda: specs.locate_own(spec, "train", tmp_path), *parts, kind=FileNotFoundError)
