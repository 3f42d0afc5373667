"""Scores under corruptions, of an ONNX file; a stand-in for the package adds noise."""

import csv
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from omegaconf import OmegaConf
from support.onnx_files import brightness_model

from ipsam.cli import eval as command
from ipsam.data.corruptions import ALL, CLEAN, GROUPS, Corruption
from ipsam.engine.evaluate import robustness
from ipsam.engine.evaluate.robustness import study_rows
from ipsam.utils.resources import CONFIGS

pytest.importorskip("onnxruntime")


def corrupt(image: NDArray[np.uint8], severity: int, name: str, **_: int) -> NDArray[np.uint8]:
    noise = np.random.normal(0, 20 * severity, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(autouse=True)
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("imagecorruptions")
    module.__spec__, module.corrupt = ModuleSpec("imagecorruptions", None), corrupt
    monkeypatch.setitem(sys.modules, "imagecorruptions", module)


def evaluate(tmp_path: Path, out: str, *, num_images: int = 3, **values: Any) -> dict[str, bytes]:
    config = OmegaConf.load(CONFIGS / "eval.yaml")
    del config["defaults"]
    path = tmp_path / "model.onnx"
    if not path.exists():
        brightness_model(path)
    values = {"ckpt": str(path), "out": str(tmp_path / out), **values}
    values |= {"data": {"test": ["synthetic"], "synthetic": {"num_test": num_images}}}
    command.main(OmegaConf.merge(config, {"engine": {"cpu": True, "num_workers": 0}}, values))
    found = (file for file in (tmp_path / out).rglob("*") if file.is_file())
    return {str(file.relative_to(tmp_path / out)): file.read_bytes() for file in found}


def test_study_leaves_the_clean_scores_and_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = evaluate(tmp_path, "out")
    first = evaluate(tmp_path, "out", corruptions=["fog"], severities=[1, 0, 3])
    assert clean.items() <= first.items()
    for name in ("per_image.csv", "curves.csv"):
        assert first[f"corruptions/clean/{name}"] == clean[name]  # severity 0 changes no bit
        assert first[f"corruptions/fog-1/{name}"] != clean[name] != first[f"corruptions/fog-3/{name}"]
    rows = list(csv.DictReader(first["corruptions/corruptions.csv"].decode().splitlines()))
    assert [(row["group"], row["corruption"], row["severity"]) for row in rows] == [
        ("", "clean", "0"),
        ("weather", "fog", "1"),
        ("weather", "fog", "3"),
        ("weather", "fog", "mean"),
        ("weather", "mean", ""),
        ("chosen", "mean", ""),
    ]
    assert first["corruptions/corruptions.png"].startswith(b"\x89PNG")
    assert "| weather fog 3 " in first["corruptions/corruptions.md"].decode()
    scored = robustness.evaluate_with
    done: list[str] = []
    monkeypatch.setattr(robustness, "evaluate_with", lambda *a, **k: done.append(k["parts"]) or scored(*a, **k))
    monkeypatch.setattr("ipsam.engine.evaluate.evaluator.predict", lambda *a, **k: pytest.fail("scored again"))
    assert evaluate(tmp_path, "out", corruptions="fog", severities=[3])["corruptions/fog-3/metrics.json"]
    assert len(done) == 2


def test_shards_and_other_images_leave_an_image_its_corruption(tmp_path: Path) -> None:
    whole = evaluate(tmp_path, "whole", corruptions=["shot_noise"], severities=[2], parquet=True)
    assert whole["corruptions/shot_noise-2/per_image.parquet"].startswith(b"PAR1")
    for shard in ("2/2", "1/2"):
        shared = evaluate(tmp_path, "shared", corruptions=["shot_noise"], severities=[2], shard=shard)
        assert ("corruptions/corruptions.csv" in shared) == (shard == "1/2")
    fewer = evaluate(tmp_path, "fewer", corruptions=["shot_noise"], severities=[2], num_images=2)
    for name in ("corruptions.csv", "shot_noise-2/per_image.csv"):
        assert shared[f"corruptions/{name}"] == whole[f"corruptions/{name}"]
    (_, *rows), (_, *all_rows) = (
        one["corruptions/shot_noise-2/per_image.csv"].decode().splitlines() for one in (fewer, whole)
    )
    assert rows == all_rows[:2]


def test_means_and_ratios_by_hand() -> None:
    def scores(mae: float, fw: float) -> dict[str, dict[str, float]]:
        return {"set": {"num_images": 2, "mae": mae, "fw": fw}}

    results = {CLEAN: scores(0.1, 0.0), Corruption("fog", 1): scores(0.2, 0.5), Corruption("fog", 5): scores(0.4, 0.3)}
    results |= {Corruption("snow", 1): scores(0.1, 0.8), Corruption("saturate", 1): scores(9, 9)}
    rows = {(row["group"], row["corruption"], row["severity"]): row for row in study_rows(results, "set")}
    assert rows["weather", "fog", "mean"]["mae"] == pytest.approx(0.3)
    assert rows["weather", "mean", ""]["fw"] == pytest.approx(0.6)
    assert rows["chosen", "mean", ""]["mae_relative"] == pytest.approx(2.0)  # without the extra corruptions
    assert np.isnan(rows["chosen", "mean", ""]["fw_relative"])
    assert "num_images" not in rows["", "clean", 0]
    usual = {Corruption(name, 1): scores(0.1, 0.2) for group in ALL for name in GROUPS[group]}
    rows = {(row["group"], row["corruption"]): row for row in study_rows({CLEAN: scores(0.1, 0.1)} | usual, "set")}
    assert rows["all", "mean"]["fw_relative"] == pytest.approx(2.0)
