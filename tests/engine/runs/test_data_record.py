"""A run remembers its data, and other data are noticed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.defaults import data_with
from support.saved import unreadable

from ipsam.data import TestSet
from ipsam.engine.runs.provenance import DATA_FILE, data_fingerprint, named_sets, record_data, warn_of_other_data


@pytest.fixture
def own(tmp_path: Path) -> Callable[[], TestSet]:
    """A folder of three pairs, found anew at each call."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for stem in "abc":
            cv2.imwrite(str(tmp_path / kind / f"{stem}.png"), np.zeros((8, 8), np.uint8))

    def find() -> TestSet:
        spec = {"name": "own", "images": "images", "masks": "masks"}
        return data_with(image_size=64, root=tmp_path, test=[spec]).test_sets()["own"]

    return find


def test_the_same_files_elsewhere_are_the_same(own: Any, tmp_path: Path) -> None:
    before = data_fingerprint(own())
    assert before["num_images"] == 3
    assert data_fingerprint(own()) == before
    (tmp_path / "moved").mkdir()
    for kind in ("images", "masks"):
        (tmp_path / kind).rename(tmp_path / "moved" / kind)
    spec = {"name": "own", "images": "moved/images", "masks": "moved/masks"}
    assert data_fingerprint(data_with(image_size=32, root=tmp_path, test=[spec]).test_sets()["own"]) == before


@pytest.mark.parametrize("change", ["gone", "renamed", "of other content"])
def test_other_files_are_noticed(own: Any, tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture) -> None:
    record_data(tmp_path, named_sets({"own": own()}))
    caplog.clear()
    warn_of_other_data(tmp_path, named_sets({"own": own(), "unheard of": own()}))
    assert caplog.text == ""
    for kind in ("images", "masks"):
        file = tmp_path / kind / "b.png"
        if change == "gone":
            file.unlink()
        elif change == "renamed":
            file.rename(tmp_path / kind / "d.png")
        else:
            cv2.imwrite(str(file), np.arange(64, dtype=np.uint8).reshape(8, 8) * (kind == "images"))
    warn_of_other_data(tmp_path, named_sets({"own": own()}))
    assert f"test/own has changed since the run began: 3 images then, {len(own())} now" in caplog.text


def test_training_data_are_known_by_seed_split_and_scenes(scenes: Any) -> None:
    prints = [
        data_fingerprint(scenes(num_train=8).train_and_val(seed=0)[0]),
        data_fingerprint(scenes(num_train=9).train_and_val(seed=0)[0]),
        data_fingerprint(scenes(num_train=8).train_and_val(seed=1)[0]),
    ]
    assert len({entry["sha256"] for entry in prints}) == 3
    halves = data_with(
        image_size=64, root=".", train=["synthetic"], val_fraction=0.5, synthetic={"num_train": 8}
    ).train_and_val(0)
    first, second = (data_fingerprint(half) for half in halves if half is not None)
    assert first["num_images"] == second["num_images"] == 4
    assert first != second


def test_what_was_seen_first_stays_written(own: Any, tmp_path: Path) -> None:
    """A resumed run adds the sets that it did not have, and keeps the others as they were."""
    record_data(tmp_path, named_sets({"own": own()}))
    first = json.loads((tmp_path / DATA_FILE).read_text())
    for kind in ("images", "masks"):
        (tmp_path / kind / "b.png").unlink()
    record_data(tmp_path, named_sets({"own": own(), "more": own()}))
    again = json.loads((tmp_path / DATA_FILE).read_text())
    assert again["test/own"] == first["test/own"]
    assert again["test/more"]["num_images"] == 2


@pytest.mark.parametrize("content", ["", "[]", '{"test/own": 3}', "{", "\x00"])
def test_a_broken_note_is_none(own: Any, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / DATA_FILE).write_text(content)
    warn_of_other_data(tmp_path, named_sets({"own": own()}))
    assert caplog.text == ""


def test_unreadable_note_is_not_replaced(own: Any, tmp_path: Path) -> None:
    record_data(tmp_path, named_sets({"own": own()}))
    unreadable(tmp_path / DATA_FILE)
    with pytest.raises(OSError, match=rf"Input/output error: '{tmp_path / DATA_FILE}'"):
        record_data(tmp_path, named_sets({"own": own()}))
    assert (tmp_path / DATA_FILE).is_symlink()
