"""Rehearsal on the CPU of what ``ipsam benchmark gpu`` runs on a GPU. No test says how fast anything is."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from ipsam.engine.inference import predictor
from ipsam.tools.benchmark import gpu, inference, train
from ipsam.tools.benchmark.commands import GPU, reports
from ipsam.tools.benchmark.options import BenchmarkOptions

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # sam2's predictor
TINY = BenchmarkOptions(device=torch.device("cpu"), **gpu.TINY)


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[dict[str, Any]]:
    """Figures of each part; compiling, which has tests of its own, is only counted."""
    with pytest.MonkeyPatch.context() as patch:
        compiled: list[object] = []
        patch.setattr(predictor, "compile_model", compiled.append)
        patch.setattr("ipsam.engine.train.trainer.compile_model", compiled.append)
        patch.setattr(inference, "NUM_FILES", {"cpu": 2})
        patch.setattr(train, "NUM_STEPS", {"cpu": 1})
        patch.setattr(train, "NUM_FILES", 3)
        *_, (_, figures) = reports(GPU, {"device": "cpu"})
        yield figures | {"compiled": compiled}


@pytest.mark.slow
def test_every_part_reports(rehearsal: dict[str, Any]) -> None:
    assert list(rehearsal) == [*gpu.PARTS, "compiled"]
    assert all(figures["seconds"] > 0 for title, figures in rehearsal.items() if title in gpu.PARTS)
    product, _, copied = rehearsal["Ceilings"]["tables"][0]
    assert min(product["TFLOP/s"], copied["GB/s"]) > 0
    [tests] = rehearsal["Tests"]["tables"]
    assert {row["test"] for row in tests} >= {"test_no_step_synchronises_with_the_gpu"}
    assert [row["precision"] for row in rehearsal["Losses"]["tables"][0]] == ["fp32", "bf16"]
    [[start]] = rehearsal["First step"]["tables"]
    assert start["seconds to the first loss"] > 0
    [kernels] = rehearsal["Costs of a step"]["tables"]
    assert len(kernels) == gpu.NUM_KERNELS
    assert 0 < sum(row["share"] for row in kernels) <= 1
    assert len(rehearsal["compiled"]) == 3  # for a timing and the peak memory of training, and for one shape


@pytest.mark.slow
def test_inference(rehearsal: dict[str, Any]) -> None:
    forward, files = rehearsal["Inference"]["tables"]
    assert [(row["precision"], row["batch"]) for row in forward] == [("fp32", 1), ("fp32", 2), ("bf16", 1), ("bf16", 2)]
    for row in forward:
        assert row["ipsam/sam2"] == pytest.approx(row["ipsam, images/s"] / row["sam2, images/s"])
        assert row["plain, images/s"] > 0
        assert min(row["ipsam, GB"], row["sam2, GB"]) > 0
    assert [row["precision"] for row in files] == ["fp32", "bf16"]
    assert rehearsal["Inference"]["environment"].keys() >= {"device", "threads", "torch", "sam2", "variant"}
    forward, _ = rehearsal["Compiled"]["inference"]["tables"]
    assert ["compiled, images/s" in row for row in forward] == [True, False]


@pytest.mark.slow
def test_train(rehearsal: dict[str, Any]) -> None:
    [[ours, recomputed, plain]] = rehearsal["Training"]["tables"]
    loops = ["ipsam", "ipsam, activation checkpointing", train.STRAIGHTFORWARD]
    assert [row["loop"] for row in (ours, recomputed, plain)] == loops
    assert rehearsal["Training"]["loss_differences"][0] < 1e-5
    assert 0 < recomputed["step GB"] < ours["step GB"] < ours["peak GB"]
    assert ours["step GB"] == pytest.approx(plain["step GB"], rel=0.2)
    assert ours["times faster"] == pytest.approx(ours["images/s"] / plain["images/s"])


@pytest.mark.slow
def test_evaluation(rehearsal: dict[str, Any]) -> None:
    [[row]] = rehearsal["Evaluation"]["tables"]
    took, predicting, scoring, from_memory = (
        row[f"{name}, s"] for name in ("evaluation", "predicting alone", "scoring alone", "scoring from memory")
    )
    assert row["times the slower"] == pytest.approx(took / max(predicting, scoring))
    assert row["the same, from memory"] == pytest.approx(took / max(predicting, from_memory))


def test_part_that_fails_ends_itself_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: BenchmarkOptions) -> Any:
        raise RuntimeError("no kernel image")

    monkeypatch.setattr(gpu, "PARTS", {"Tests": fail, "Losses": lambda _: ("fine", {})})
    found = gpu.benchmark(TINY)
    assert next(found)[1][1]["error"] == "RuntimeError: no kernel image"
    assert next(found)[1][0].startswith("fine")
    with pytest.raises(ValueError, match="failed on cpu: Tests; the report has the reasons"):
        next(found)


def test_losses_far_from_the_cpus_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "BOUNDS", {"bf16": 1e-9})
    with pytest.raises(RuntimeError, match=r"losses in bf16: .* on the CPU in fp32"):
        gpu.losses(TINY)
