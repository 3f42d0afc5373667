"""What only COCO has: run lengths, crowds, several parts, file names with folders."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as api
from support.annotated import SIZES, coco_content, write_coco
from support.defaults import data_with

from ipsam.data.drawings import Drawing, Shape, as_runs, decompressed


def mask_of(root: Path, content: Any, index: int = 1) -> np.ndarray:
    """Write a COCO file and read a mask, by default that of b."""
    spec = write_coco(root, content)
    return data_with(image_size=32, root=root, test=[spec]).test_sets()["own"].source.read(index, 0).mask


@pytest.mark.parametrize("is_compressed", [False, True])
def test_run_lengths_and_crowds_are_read(tmp_path: Path, is_compressed: bool) -> None:
    pixels = np.random.default_rng(0).random(SIZES["b"]) > 0.7
    encoded = api.encode(np.asfortranarray(pixels.astype(np.uint8)))
    counts = encoded["counts"].decode() if is_compressed else as_runs(pixels).tolist()
    content = coco_content()
    content["annotations"][2] |= {"segmentation": {"size": [40, 60], "counts": counts}, "iscrowd": 1}
    np.testing.assert_array_equal(mask_of(tmp_path, content), pixels * 255)


def test_instances_and_parts_are_united(tmp_path: Path) -> None:
    content = coco_content()
    parts = [[5, 5, 15, 5, 15, 15, 5, 15], [12, 12, 20, 12, 20, 20, 12, 20]]
    content["annotations"][2]["segmentation"] = parts
    runs = {"counts": as_runs(np.pad(np.ones((4, 6), bool), ((0, 36), (0, 54)))).tolist()}
    content["annotations"].append(content["annotations"][2] | {"id": 7, "category_id": 7, "segmentation": runs})
    expected = np.zeros(SIZES["b"], np.uint8)
    expected[5:15, 5:15] = expected[12:20, 12:20] = expected[:4, :6] = 255
    np.testing.assert_array_equal(mask_of(tmp_path, content), expected)


def test_file_names_may_have_folders_and_entries_no_size(tmp_path: Path) -> None:
    expected = mask_of(tmp_path, coco_content())
    content = coco_content()
    content["images"][1] = {"id": 1, "file_name": "part\\b.png"}
    (tmp_path / "coco/images/part").mkdir()
    (tmp_path / "coco/images/b.png").rename(tmp_path / "coco/images/part/b.png")
    (tmp_path / "coco/all.json").write_text(json.dumps(content))
    spec = {"name": "own", "coco": "coco/all.json", "images": "coco/images"}
    test_set = data_with(image_size=32, root=tmp_path, test=[spec]).test_sets()["own"]
    assert test_set.source.names() == list(SIZES)
    np.testing.assert_array_equal(test_set.source.read(1, 0).mask, expected)


def test_run_lengths_are_those_of_pycocotools() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        pixels = rng.random(rng.integers(1, 40, 2)) > rng.choice([0.0, 0.1, 0.5, 0.99, 1.0])
        runs = as_runs(pixels)
        encoded = api.encode(np.asfortranarray(pixels.astype(np.uint8)))["counts"]
        np.testing.assert_array_equal(decompressed(encoded), runs)
        drawing = Drawing(Path("mask"), [Shape("runs", runs)], pixels.shape)
        np.testing.assert_array_equal(drawing.draw(pixels.shape), pixels * 255)


def test_hostile_run_lengths_end_in_one_error() -> None:
    rng = np.random.default_rng(1)
    outcomes = set()
    for _ in range(500):
        counts = rng.integers(40, 120, rng.integers(0, 12), dtype=np.uint8).tobytes()
        try:
            Drawing(Path("mask"), [Shape("annotation 1", decompressed(counts))]).draw((5, 6))
            outcomes.add("drawn")
        except ValueError as error:
            outcomes.add(str(error).split(" of ")[0])
    assert "has counts that are no run lengths" in outcomes
    assert "mask: annotation 1 has run lengths" in outcomes
