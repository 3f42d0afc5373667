"""Training in fp16: a gradient that overflows lowers the loss scale, and is no divergence."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.training import PowerCutError, model_of, same
from torch import nn

from ipsam.engine.runs.checkpoint import load_training
from ipsam.engine.train import loss_scale, trainer
from ipsam.engine.train import state as run_state
from ipsam.engine.train.loss_scale import LossScale

CPU = torch.device("cpu")
INITIAL = 2.0**8  # a small model's gradients overflow at torch's 2 ** 16
FP16: dict[str, Any] = {"precision": "fp16", "save_every": 1, "keep": 9}


@pytest.fixture(autouse=True)
def low_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "INITIAL", INITIAL)


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Multiply the losses or gradients of some forward passes by a factor."""
    loss = trainer.ipsam_loss

    def install(passes: set[int], kind: str, factor: float) -> None:
        calls: list[int] = []

        def spoilt(*arguments: Any) -> dict[str, torch.Tensor]:
            calls.append(1)
            losses = loss(*arguments)
            if len(calls) in passes and kind == "gradient":
                losses["total"].register_hook(lambda gradient: gradient * factor)
            elif len(calls) in passes:
                losses["total"] = losses["total"] * factor
            return losses

        monkeypatch.setattr(trainer, "ipsam_loss", spoilt)

    return install


def scale_of(checkpoint: Path) -> list[float]:
    found: list[float] = load_training(checkpoint)["loss_scale"]
    return found


def test_scale_follows_torchs_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "INTERVAL", 3)
    ours, theirs = LossScale(CPU, enabled=True), torch.amp.GradScaler("cpu", init_scale=INITIAL, growth_interval=3)
    weight = nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    for overflows in (0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0):
        loss = weight * (float("inf") if overflows else 3.0)
        theirs.scale(loss).backward(retain_graph=True)
        theirs.unscale_(optimizer)
        reference, weight.grad = weight.grad, None
        ours.scaled(loss).backward()
        ours.unscale([weight])
        assert torch.equal(weight.grad, reference)
        theirs.step(optimizer)
        theirs.update()
        ours.update(bad=torch.zeros(()), overflow=torch.tensor(float(overflows)))
        assert ours.state()[0] == theirs.get_scale()
        optimizer.zero_grad()


def test_fp16_trains_almost_as_fp32_does(tmp_path: Path, train: Any) -> None:
    options = {"warmup_steps": 0, "lr": 1e-4}
    half, single = (train(name, precision=name, **options).state_dict() for name in ("fp16", "fp32"))
    start, moved, apart = model_of(1).state_dict(), 0.0, 0.0
    for name, tensor in half.items():
        assert tensor.dtype == single[name].dtype
        if tensor.is_floating_point():
            moved += float((tensor - start[name]).square().sum())
            apart += float((tensor - single[name]).square().sum())
    assert 0 < apart < 0.1 * moved
    assert scale_of(tmp_path / "fp16/checkpoints/last") == [INITIAL, 2.0]
    assert "loss_scale" not in load_training(tmp_path / "fp32/checkpoints/last")


@pytest.mark.parametrize("action", ["stop", "skip"])
def test_overflow_is_skipped_and_no_divergence(
    tmp_path: Path, train: Any, spoil: Any, caplog: pytest.LogCaptureFixture, action: str
) -> None:
    spoil({2}, "gradient", float("inf"))
    with caplog.at_level(logging.INFO):
        train(epochs=2, on_divergence=action, **FP16)
    folders = sorted((tmp_path / "checkpoints").glob("step_*"))
    half = INITIAL / 2
    assert [scale_of(folder) for folder in folders] == [[INITIAL, 1], [half, 0], [half, 1], [half, 2]]
    weights = [load_file(folder / "model.safetensors") for folder in folders]
    assert [same(*weights[index : index + 2]) for index in range(3)] == [True, False, False]
    assert "step 2 is skipped: its gradient overflows in fp16" in caplog.text
    assert load_training(folders[-1])["progress"]["skipped"] == 1
    assert not (tmp_path / "diverged").exists()


@pytest.mark.parametrize("log_every", [1, 100])
def test_loss_that_is_not_finite_is_a_divergence(tmp_path: Path, train: Any, spoil: Any, log_every: int) -> None:
    """Also if it is found some steps later; the saved state has the scale from before."""
    spoil({3}, "loss", float("nan"))
    options = {**FP16, "save_every": log_every, "log_every": log_every}
    with pytest.raises(ValueError, match="training diverged at step 3, in epoch 1"):
        train(batch_size=1, **options)
    assert scale_of(tmp_path / "diverged" / "step_00000003") == [INITIAL, 2]


def test_too_high_a_scale_is_lowered(tmp_path: Path, train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "INITIAL", 2.0**20)
    model = train(epochs=8, **FP16)
    skipped = load_training(tmp_path / "checkpoints/last")["progress"]["skipped"]
    assert 4 <= skipped < 12
    assert scale_of(tmp_path / "checkpoints/last")[0] == 2.0 ** (20 - skipped)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_overflows_without_end_stop_the_run(train: Any, spoil: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil({2, 3, 4}, "gradient", float("nan"))
    monkeypatch.setattr(run_state, "MAX_SKIPPED", 3)
    with pytest.raises(ValueError, match=r"training diverged: 3 steps in a row, up to step 4, had to be skipped"):
        train(epochs=3, **FP16)


@pytest.mark.usefixtures("untyped")
def test_resumed_fp16_run_is_bit_exact(tmp_path: Path, train: Any, spoil: Any, interrupt: Any) -> None:
    spoil({2}, "gradient", float("inf"))
    straight = train("one", epochs=2, **FP16)
    spoil({2}, "gradient", float("inf"))
    interrupt(3)
    with pytest.raises(PowerCutError):
        train("two", epochs=2, **FP16)
    interrupt(None)
    spoil(set(), "", 1)
    resumed = train("two", seed=2, resume=True, epochs=2, **FP16)
    assert same(straight.state_dict(), resumed.state_dict())
    assert same(*(load_training(tmp_path / run / "checkpoints/last") for run in ("one", "two")))


@pytest.mark.parametrize("state", [[INITIAL], [0.0, 1.0], [float("nan"), 1.0], [INITIAL, -1.0], [INITIAL, "1"], "high"])
def test_malformed_scale_is_refused(state: Any) -> None:
    scale = LossScale(CPU, enabled=True)
    with pytest.raises(ValueError, match="loss_scale must be"):
        scale.load(state)
    assert scale.state() == [INITIAL, 0.0]
