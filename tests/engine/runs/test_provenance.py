"""A run's record of its environment and data, and warnings about other data."""

import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.defaults import data_with
from support.run_folders import MODEL
from support.saved import unreadable

import ipsam
from ipsam.engine.runs import provenance
from ipsam.engine.runs.provenance import (
    DATA_FILE,
    data_fingerprint,
    environment,
    named_sets,
    record_data,
    warn_of_other_data,
)
from ipsam.engine.runs.run_folder import open_run
from ipsam.tools.benchmark.measure import report


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Finds a dataset of three pairs again at each call."""
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for stem in "abc":
            cv2.imwrite(str(tmp_path / kind / f"{stem}.png"), np.zeros((8, 8), np.uint8))
    spec = {"name": "own", "images": "images", "masks": "masks"}
    return lambda root=tmp_path, **options: named_sets(
        data_with(**{"image_size": 64, "root": root, "test": [spec], **options}).test_sets()
    )


def test_versions_need_no_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with opencv-python in place of opencv-python-headless, or with ipsam on the path alone."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(provenance, "version", missing)
    found = environment(0, MODEL)["packages"]
    assert found == {"ipsam": ipsam.__version__, "opencv": cv2.__version__}
    assert f"ipsam {ipsam.__version__}" in report([], "", "torch", "ipsam")[0]


def test_environment_is_recorded_at_each_start(run_config: Any) -> None:
    for overrides in (["seed=3"], ["seed=3", "resume=true"]):
        folder, _ = open_run(run_config(*overrides), MODEL)
    lines = [json.loads(line) for line in (folder / "environment.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    for recorded in lines:
        assert recorded["seed"] == 3
        assert recorded["packages"]["torch"] == version("torch")
        assert recorded["parameters"] == {"param": pytest.approx(111e-6), "t_param": pytest.approx(100e-6)}
        assert recorded["packages"].keys() >= {"ipsam", "torch", "sam2", "peft", "numpy", "hydra-core"}
        assert recorded.keys() >= {"command", "started", "python", "revision", "uncommitted"}
        revision = recorded["revision"]  # None where the package came without a repository
        assert revision is None or (len(revision) == 40 and int(revision, 16))


@pytest.mark.parametrize("change", ["removed", "renamed", "changed"])
def test_other_files_are_reported(own: Any, tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture) -> None:
    record_data(tmp_path, own())
    caplog.clear()
    warn_of_other_data(tmp_path, own() | {"unknown": own()["test/own"]})
    assert caplog.text == ""
    for kind in ("images", "masks"):
        file = tmp_path / kind / "b.png"
        if change == "removed":
            file.unlink()
        elif change == "renamed":
            file.rename(tmp_path / kind / "d.png")
        else:
            cv2.imwrite(str(file), np.arange(64, dtype=np.uint8).reshape(8, 8) * (kind == "images"))
    warn_of_other_data(tmp_path, own())
    num = 2 if change == "removed" else 3
    assert f"test/own has changed since the run began: 3 images then, {num} now" in caplog.text


def test_training_data_differ_by_seed_split_and_scenes(scenes: Any) -> None:
    prints = [
        data_fingerprint(scenes(num_train=num_train).train_and_val(seed=seed)[0])
        for num_train, seed in ((8, 0), (9, 0), (8, 1))
    ]
    assert len({entry["sha256"] for entry in prints}) == 3
    halves = data_with(image_size=64, root=".", train=["synthetic"], val_fraction=0.5, synthetic={"num_train": 8})
    first, second = (data_fingerprint(half) for half in halves.train_and_val(0) if half is not None)
    assert first["num_images"] == second["num_images"] == 4
    assert first != second


def test_first_record_stays_and_moved_data_are_the_same(own: Any, tmp_path: Path) -> None:
    """A resumed run adds new sets and keeps the others as they were."""
    record_data(tmp_path, own())
    first = json.loads((tmp_path / DATA_FILE).read_text())
    moved = tmp_path / "moved"
    moved.mkdir()
    for kind in ("images", "masks"):
        (tmp_path / kind).rename(moved / kind)
    assert data_fingerprint(own(moved, image_size=32)["test/own"]) == first["test/own"]
    for kind in ("images", "masks"):
        (moved / kind / "b.png").unlink()
    record_data(tmp_path, own(moved) | {"test/more": own(moved)["test/own"]})
    again = json.loads((tmp_path / DATA_FILE).read_text())
    assert again["test/own"] == first["test/own"]
    assert [entry["num_images"] for entry in again.values()] == [3, 2]


@pytest.mark.parametrize("content", ["", "[]", '{"test/own": 3}', "{", "\x00"])
def test_damaged_record_is_ignored(own: Any, tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / DATA_FILE).write_text(content)
    warn_of_other_data(tmp_path, own())
    assert caplog.text == ""


def test_unreadable_record_is_not_replaced(own: Any, tmp_path: Path) -> None:
    record_data(tmp_path, own())
    unreadable(tmp_path / DATA_FILE)
    with pytest.raises(OSError, match=rf"Input/output error: '{tmp_path / DATA_FILE}'"):
        record_data(tmp_path, own())
    assert (tmp_path / DATA_FILE).is_symlink()
