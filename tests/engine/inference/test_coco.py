"""Masks saved in COCO's format: pycocotools and our own readers get them back."""

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from support.metric_cases import cases

from ipsam.data.saved_maps.coco_maps import coco_maps
from ipsam.engine.inference.coco import CATEGORY, describe, unite
from ipsam.engine.inference.prediction import Prediction

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # pycocotools


def described(masks: list[np.ndarray], *, polygons: bool = False) -> list[dict[str, Any]]:
    return [describe(mask, f"{n}.jpg", score=1.0, polygons=polygons) for n, mask in enumerate(masks)]


def drawn(path: Path, masks: list[np.ndarray], capsys: pytest.CaptureFixture[str]) -> list[np.ndarray]:
    """Draw the masks of a file with pycocotools, which prints while it reads."""
    coco = COCO(path)
    capsys.readouterr()
    of = {coco.imgs[one["image_id"]]["file_name"]: coco.annToMask(one) > 0 for one in coco.anns.values()}
    assert len(coco.imgs) == len(masks)
    return [of.get(f"{number}.jpg", np.zeros_like(mask)) for number, mask in enumerate(masks)]


def test_run_lengths_are_exact_on_1000_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ("blob", "noise", "empty", "full", "border", "thin", "gap", "lines", "pixel", "all but a pixel")
    masks = [(prediction if kind == "noise" else mask) > 128 for kind in kinds for prediction, mask in cases(kind, 100)]
    images, annotations = [], []
    for number, one in enumerate(described(masks)):
        images += [image | {"id": number} for image in one["images"]]
        annotations += [mask | {"id": number + 1, "image_id": number} for mask in one["annotations"]]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": [CATEGORY]}))
    maps = coco_maps(path, {str(number): mask.shape for number, mask in enumerate(masks)})
    for number, (mask, found) in enumerate(zip(masks, drawn(path, masks, capsys), strict=True)):
        assert np.array_equal(found, mask)
        assert np.array_equal(maps[str(number)][0].read(), mask)
    assert number == 999


def test_polygons_are_exact_but_for_holes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ("blob", "gap", "border", "pixel", "full", "empty")
    masks = [mask > 128 for kind in kinds for _, mask in cases(kind, 20)]
    (tmp_path / "coco_polygons").mkdir()
    for number, content in enumerate(described(masks, polygons=True)):
        (tmp_path / f"coco_polygons/{number:03}.json").write_text(json.dumps(content))
    path = unite(tmp_path, "coco_polygons", tmp_path / ".lock")
    assert path == tmp_path / "coco_polygons.json"
    for mask, found in zip(masks, drawn(path, masks, capsys), strict=True):
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = cv2.drawContours(mask.astype(np.uint8), contours, -1, 1, cv2.FILLED)
        assert np.array_equal(found, filled)


@pytest.mark.parametrize("content", ["[]", "{}", '{"images": 3, "annotations": []}', '{"images": [1]}'])
def test_other_files_are_not_united(content: str, tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/mine.json").write_text(content)
    with pytest.raises(ValueError, match=r"mine\.json: no file of save=\[coco\]; move it out of the folder"):
        unite(tmp_path, "coco", tmp_path / ".lock")


def test_images_with_one_stem_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Mine\.json: an image_id may mean either of the masks 7 and 0007"):
        coco_maps(results(tmp_path, {}), {"7": (9, 9), "0007": (9, 9)})
    path = tmp_path / "dataset.json"
    images = [{"id": number, "file_name": f"{number}/a.jpg"} for number in (1, 2)]
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    with pytest.raises(ValueError, match=r"dataset\.json: several images have the stem a; give each a name"):
        coco_maps(path, {"a": (9, 9)})


def test_a_prediction_is_saved_with_its_score(tmp_path: Path) -> None:
    prob = np.full((6, 8), 0.25, np.float32)
    prob[2:4, 3:7] = 0.75
    prediction = Prediction(np.zeros((6, 8, 3), np.uint8), prob)
    content = json.loads(prediction.save(tmp_path / "a.json", "coco", file_name="sub/a.jpg").read_text())
    (annotation,) = content["annotations"]
    assert (annotation["score"], annotation["bbox"], annotation["area"]) == (0.75, [3, 2, 4, 2], 8)
    assert content["images"] == [{"id": 1, "file_name": "sub/a.jpg", "height": 6, "width": 8}]
    (values,) = coco_maps(tmp_path / "a.json", {"a": (6, 8)})["a"]
    assert np.array_equal(values.read(), np.where(prob > 0.5, np.float32(0.75), 0))


def results(tmp_path: Path, *entries: dict[str, Any]) -> Path:
    box = {"image_id": 7, "category_id": 1, "score": 0.5, "segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]}
    path = tmp_path / "Mine.json"
    path.write_text(json.dumps([box | entry for entry in entries]))
    return path


def test_a_map_is_the_highest_score(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = results(tmp_path, {}, {"score": 1, "segmentation": {"size": [9, 9], "counts": [72, 9]}})
    with caplog.at_level(logging.WARNING):
        maps = coco_maps(path, {"0007": (9, 9), "empty": (9, 9)})
    assert "1 of 2 masks have no result and an empty map: empty" in caplog.text
    assert maps["0007"][0].read()[0].tolist() == [0.5] * 4 + [0] * 4 + [1]
    assert not maps["empty"][0].read().any()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"image_id": 8}, "result 0 has the image_id 8, which is no mask's: the masks are 0007"),
        ({"score": 2}, "result 0 has the score 2; it must be a number from 0 to 1"),
        ({"segmentation": None}, "result 0 has no segmentation, and its box alone is no mask; correct or remove it"),
    ],
)
def test_impossible_results_are_named(entry: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"Mine\.json: {message}"):
        coco_maps(results(tmp_path, entry), {"0007": (9, 9)})
