"""The benchmarks of the model run and give their columns; how fast anything is, no test says."""

from typing import Any

import pytest

from ipsam.engine.inference import predictor
from ipsam.tools.benchmark.evaluation import benchmark_evaluation
from ipsam.tools.benchmark.inference import benchmark_inference
from ipsam.tools.benchmark.scaling import benchmark_scaling
from ipsam.tools.benchmark.training import STRAIGHTFORWARD, benchmark_training

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # sam2's predictor


def test_inference(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(predictor, "compile_model", compiled.append)
    text, data = benchmark_inference(**tiny | {"batches": [1, 2], "compile": True})
    assert [(row["precision"], row["batch"]) for row in data["forward"]] == [
        *(("fp32", 1), ("fp32", 2), ("bf16", 1), ("bf16", 2))
    ]
    names = {"ipsam", "plain", "sam2", "transformers"}
    assert [set(row["images_per_second"]) - names for row in data["forward"]] == [{"compiled"}, set(), set(), set()]
    assert len(compiled) == 1
    for row in data["forward"]:
        rates = row["images_per_second"]
        assert row["ratio_to_sam2"] == pytest.approx(rates["ipsam"] / rates["sam2"])
        assert row["peak_gb"].keys() == {"ipsam", "sam2"}
    assert [row["precision"] for row in data["files"]] == ["fp32", "bf16"]
    assert "transformers, images/s" in text
    assert "SAM2ImagePredictor, files/s" in text
    assert data["environment"].keys() >= {"device", "threads", "torch", "sam2", "variant"}


def test_training(tiny: dict[str, Any]) -> None:
    text, data = benchmark_training(**tiny | {"sizes": [128]})
    ours, recomputed, plain = data["rows"]
    assert [row["loop"] for row in data["rows"]] == ["ipsam", "ipsam, activation checkpointing", STRAIGHTFORWARD]
    assert ours["loss_difference"] < 1e-5
    assert recomputed["step_gb"] < ours["step_gb"] < ours["peak_gb"]
    assert ours["times_straightforward"] == pytest.approx(ours["images_per_second"] / plain["images_per_second"])
    assert "times faster" in text


def test_scaling(tiny: dict[str, Any]) -> None:
    text, data = benchmark_scaling(**tiny | {"sizes": [64, 96], "batches": [1, 2]})
    assert [(row["size"], row["batch"]) for row in data["forward"]] == [(64, 1), (64, 2), (96, 1), (96, 2)]
    small, _, large, _ = data["forward"]
    assert small["gflops_per_image"] < large["gflops_per_image"]
    assert [row["files"] for row in data["files"]] == [1, 2]
    assert data["profiled"] == {"size": 96, "batch": 1}
    shares = {row["part"]: row["share"] for row in data["parts"]}
    assert shares.pop("whole") == 1
    assert all(0 <= share < 1 for share in shares.values())  # the rest's too: nothing is counted twice
    assert "operator, at 96 px, batch 1" in text


def test_evaluation(tiny: dict[str, Any]) -> None:
    text, data = benchmark_evaluation(**tiny)
    (row,) = data["rows"]
    took, predicting, scoring, from_memory = row["seconds"].values()
    assert row["ratio"] == pytest.approx(took / max(predicting, scoring))
    assert row["ratio_from_memory"] == pytest.approx(took / max(predicting, from_memory))
    assert "4 photographs" in text
