"""Hugging Face datasets on disk: nothing is fetched, and no file but the dataset's own is read."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from support.annotated import SIZES, write_coco
from support.defaults import data_with
from support.doctor_files import examined, found, message, save, stops
from support.map_files import refused

from ipsam.data import Data
from ipsam.data.annotations import columns

IMAGES = datasets.Features({"image": datasets.Image(), "mask": datasets.Image()})
Saved = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def cells(root: Path) -> list[dict[str, Any]]:
    """Return four rows with the set of the annotated formats."""
    spec = write_coco(root)
    source = data_with(image_size=32, root=root, test=[spec]).test_sets()["own"].source
    rows = []
    for index, stem in enumerate(SIZES):
        buffer = io.BytesIO()
        Image.fromarray(source.read(index, 0).mask).save(buffer, "png")
        image = {"bytes": (root / f"coco/images/{stem}.png").read_bytes(), "path": f"{stem}.png"}
        rows.append({"image": image, "mask": {"bytes": buffer.getvalue(), "path": None}})
    return rows


def write_parquet(root: Path, rows: list[dict[str, Any]], features: Any = IMAGES) -> dict[str, Any]:
    (root / "set/data").mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(root / "set/data/train-00000.parquet"))
    return {"name": "own", "dataset": "set", "split": "train"}


def write_imagefolder(root: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    lines = []
    for stem, row in zip(SIZES, rows, strict=True):
        for kind in ("image", "mask"):
            path = root / f"set/train/{kind}s/{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row[kind]["bytes"])
        lines.append(json.dumps({"file_name": f"images/{stem}.png", "mask_file_name": f"masks/{stem}.png"}))
    (root / "set/train/metadata.jsonl").write_text("\n".join(lines))
    return {"name": "own", "dataset": "set", "split": "train"}


def write_saved(root: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    whole = datasets.DatasetDict(train=datasets.Dataset.from_list(rows, features=IMAGES))
    whole.save_to_disk(str(root / "set"))
    return {"name": "own", "dataset": "set", "split": "train"}


WRITERS = {"parquet": write_parquet, "imagefolder": write_imagefolder, "save_to_disk": write_saved}


def data(root: Path, spec: dict[str, Any], **options: Any) -> Data:
    return data_with(**{"image_size": 32, "root": root, "train": [spec], "test": [spec]} | options)


@pytest.mark.parametrize("kind", WRITERS)
def test_dataset_is_the_same_set_as_the_annotations(tmp_path: Path, kind: str) -> None:
    rows = cells(tmp_path)
    spec = WRITERS[kind](tmp_path, rows)
    expected = data(tmp_path, {"name": "own", "coco": "coco/all.json", "images": "coco/images"})
    theirs, _ = expected.train_and_val(0)
    assert theirs is not None
    for cache in (None, tmp_path / "cache"):
        ours, _ = data(tmp_path, spec, cache=cache).train_and_val(0)
        assert ours is not None
        for index in range(4):
            assert all(torch.equal(ours[index][key], theirs[index][key]) for key in ("image", "mask"))
    source, other = (one.test_sets()["own"].source for one in (data(tmp_path, spec), expected))
    assert source.names() == other.names() == list(SIZES)
    for index in range(4):
        np.testing.assert_array_equal(source.read(index, 0).image, other.read(index, 0).image)
        np.testing.assert_array_equal(source.read(index, 0).mask, other.read(index, 0).mask)
    left = data(tmp_path, spec, exclude=["b"]).test_sets()["own"]
    assert (left.source.names(), left.left_out) == (["a", "c", "d"], {"by exclude": ["b"]})
    diagnosis = examined(data(tmp_path, spec, test=[]))
    assert found(diagnosis) == {"empty masks": "warning"}
    assert (diagnosis.num_files, diagnosis.sets[0].sizes) == (8, list(SIZES.values()))
    assert list(source.listing()) == list(data(tmp_path, spec).test_sets()["own"].source.listing())


def test_part_of_a_split_and_grey_values_are_chosen(tmp_path: Path) -> None:
    rows = cells(tmp_path)
    for row in rows:  # labels, and names that two rows share
        row["image"]["path"] = "same.png"
        buffer = io.BytesIO()
        Image.fromarray(np.tile(np.arange(3, dtype=np.uint8), (6, 2))).save(buffer, "png")
        row["mask"]["bytes"] = buffer.getvalue()
    spec = write_parquet(tmp_path, rows) | {"split": "train[1:3]"}
    refused(data(tmp_path, spec, size_mismatch="resize").test_sets, "the mask's values are 0, 1, 2", "none above 128")
    given = data(tmp_path, spec | {"category": [0, 2]}, size_mismatch="resize")
    source = given.test_sets()["own"].source
    assert source.names() == ["000000", "000001"]
    assert source.read(0, 0).mask[0].tolist() == [255, 0, 255] * 2
    assert not examined(given).would_stop


def test_faulty_cells_are_named(tmp_path: Path) -> None:
    """A path in a table is the author's, so it is not followed."""
    rows = cells(tmp_path)
    save(tmp_path / "secret.png", np.zeros((9, 9, 3), np.uint8))
    rows[0]["image"] = {"bytes": None, "path": str(tmp_path / "secret.png")}
    rows[1]["mask"] = None
    rows[2]["image"] = {"bytes": b"<html>", "path": "c.png"}
    path = tmp_path / "set/data"
    path.mkdir(parents=True)
    encoded = {name: datasets.Image(decode=False) for name in ("image", "mask")}
    table = datasets.Dataset.from_list(rows, features=datasets.Features(encoded))
    pyarrow.parquet.write_table(table.with_format("arrow")[:], path / "train.parquet")
    spec = {"name": "own", "dataset": "set", "split": "train"}
    given = data(tmp_path, spec)
    text = refused(given.test_sets, "own/test: 3 of 4 pairs can't be read", "set (train 0, image): the cell holds no")
    assert "set (train 1, mask): the cell holds no image; correct the dataset or leave the row out" in text
    assert "set (train 2, image): the image header can't be read" in text
    assert "own/test: 3 of 4 pairs can't be read: " in message(
        examined(data(tmp_path, spec, train=[])), "unreadable file"
    )
    assert not stops(data(tmp_path, spec, exclude=["secret", "b", "c"]))


@pytest.mark.parametrize("up", ["../../", "images/../../../"])
def test_imagefolder_names_no_file_outside(tmp_path: Path, up: str) -> None:
    spec = write_imagefolder(tmp_path, cells(tmp_path))
    save(tmp_path / "secret.png", np.zeros((9, 9, 3), np.uint8))
    metadata = tmp_path / "set/train/metadata.jsonl"
    metadata.write_text(metadata.read_text().replace("masks/b.png", f"{up}secret.png"))
    refused(data(tmp_path, spec).test_sets, "can't be loaded (ValueError: Invalid metadata file_name '", "secret.png'")


@pytest.mark.parametrize("name", ["test", "train", None])
def test_dataset_saved_alone_is_no_other_split(tmp_path: Path, name: str | None) -> None:
    datasets.Dataset.from_list(cells(tmp_path), IMAGES, split=name).save_to_disk(str(tmp_path / "my {set}"))
    given = data(tmp_path, {"name": "own", "dataset": "my {set}", "split": "train"})
    if name == "test":
        refused(given.test_sets, "the split train of the dataset", "can't be loaded (KeyError: 'train')")
    else:
        assert given.test_sets()["own"].source.names() == list(SIZES)


def test_wrong_names_and_a_missing_package_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{**row, "text": "x"} for row in cells(tmp_path)]
    spec = write_parquet(tmp_path, rows, datasets.Features({**IMAGES, "text": datasets.Value("string")}))

    def refused_with(change: dict[str, Any], *parts: str, kind: type[Exception] = ValueError) -> None:
        refused(data(tmp_path, spec | change).test_sets, *parts, kind=kind)

    refused_with(
        {"mask": "masks"}, "own/test", "no column masks of type Image", "image (Image), mask (Image), text (Value)"
    )
    refused_with({"image": "text"}, "no column text of type Image")
    refused_with({"split": "test"}, "the split test of the dataset", "can't be loaded", "check both names")
    refused_with({"category": ["cat"]}, "no category is called cat; there are 0, 1, 2")
    refused_with({"dataset": "owner/none"}, "the dataset owner/none can't be loaded", "check both names")
    refused_with({"dataset": "none"}, "none doesn't exist", "a Hub repository, OWNER/NAME", kind=FileNotFoundError)
    (tmp_path / "text").mkdir()
    (tmp_path / "text/train.csv").write_text("image,mask\na,b\n")
    refused_with({"dataset": "text"}, "has files of the kind csv, and only arrow, imagefolder, parquet are read")
    shutil.rmtree(tmp_path / "set/data")
    (tmp_path / "set/data").mkdir()
    (tmp_path / "set/data/train.parquet").write_bytes(b"PAR1")
    refused_with({}, "can't be loaded", "fetch the dataset again")
    monkeypatch.setattr(columns, "find_spec", lambda name: None)
    refused_with({}, "needs the package datasets: pip install -e '.[datasets]'")
