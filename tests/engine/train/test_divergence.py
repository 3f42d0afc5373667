"""A loss or gradient that is not finite never reaches a weight."""

import errno
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.quick import only
from support.saved import failing
from support.training import model_of, same
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from ipsam.engine.runs.checkpoint import damage, load_training, skipped_steps
from ipsam.engine.train import state as run_state
from ipsam.engine.train import trainer
from ipsam.model import IPSAM

BAD_STEP = 3


@pytest.fixture
def spoil(at_forward_pass: Any) -> Any:
    """Replace the loss or the gradient of one forward pass."""

    def at(forward_pass: int, kind: str) -> None:
        def change(losses: dict[str, torch.Tensor]) -> None:
            if kind == "gradient":
                losses["total"].register_hook(lambda gradient: gradient * float("nan"))
            else:
                losses["total"] = losses["total"] + float(kind)

        at_forward_pass(forward_pass, change)

    return at


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("kind", only({"gradient"}, ["nan", "inf", "gradient"]))
def test_run_stops_and_saves_the_state_before_the_bad_step(tmp_path: Path, train: Any, spoil: Any, kind: str) -> None:
    train("healthy", epochs=2, save_every=1, keep=9)
    healthy = weights(tmp_path / "healthy/checkpoints" / f"step_{BAD_STEP - 1:08d}")
    spoil(BAD_STEP, kind)
    model = model_of(1)
    with pytest.raises(ValueError, match=r"training diverged at step 3, in epoch 2: loss .*, gradient norm") as error:
        train("run", model=model, epochs=2, save_every=1, keep=9)
    kept = tmp_path / "run" / "diverged" / "step_00000003"
    assert damage(kept) is None
    assert same(model.state_dict(), healthy)
    assert same(weights(kept), healthy)
    for folder in (kept, tmp_path / "run" / "checkpoints" / "last"):
        assert load_training(folder)["progress"]["step"] == BAD_STEP - 1
    step = json.loads((kept / "step.json").read_text())
    assert len(step["images"]) == 2
    for named in (*step["images"], str(kept), "allow_change=[engine.lr]", "engine.on_divergence=skip"):
        assert named in str(error.value)
    batch = load_file(kept / "batch.safetensors")
    assert (batch["image"].shape, batch["image"].dtype) == ((2, 3, 64, 64), torch.uint8)


@pytest.mark.slow
def test_resume_after_divergence_is_bit_exact(train: Any, spoil: Any) -> None:
    straight = train("one", epochs=2, save_every=1)
    spoil(BAD_STEP, "nan")
    with pytest.raises(ValueError, match="diverged"):
        train("two", epochs=2, save_every=1)
    resumed = train("two", seed=2, resume=True, epochs=2, save_every=1)
    assert same(straight.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("action", only({"stop"}, ["skip", "stop"]))
def test_batch_norm_statistics_are_restored(tmp_path: Path, train: Any, action: str) -> None:
    """A forward pass changes them before the loss is known."""
    model = model_of(1)
    model.norm = nn.BatchNorm2d(3)
    forward, calls = model.forward, []

    def through_norm(image: torch.Tensor) -> Any:
        calls.append(1)
        spoilt = torch.full_like(image, float("nan")) if len(calls) == BAD_STEP else image
        return forward(image + 0 * model.norm(spoilt))

    model.forward = through_norm  # type: ignore[method-assign]
    settings = {"epochs": 2, "on_divergence": action, "save_every": 1, "keep": 9}
    if action == "stop":
        with pytest.raises(ValueError, match="diverged"):
            train(model=model, **settings)
        before = weights(tmp_path / "checkpoints" / f"step_{BAD_STEP - 1:08d}")
        assert same(weights(tmp_path / "diverged" / f"step_{BAD_STEP:08d}"), before)
    else:
        train(model=model, **settings)
        assert model.norm.num_batches_tracked == len(calls) - 1
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_full_disk_does_not_hide_the_divergence(train: Any, spoil: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(BAD_STEP, "nan")
    monkeypatch.setattr(run_state, "save_checkpoint", failing(errno.ENOSPC))
    with pytest.raises(
        ValueError, match=r"diverged at step 3.*could not be saved in .*diverged/step_00000003 \(No space"
    ):
        train(epochs=2)


@pytest.mark.parametrize("accumulate", only({2}, [1, 2]))
def test_bad_step_is_skipped_and_counted(
    tmp_path: Path, train: Any, scenes: Any, spoil: Any, caplog: pytest.LogCaptureFixture, accumulate: int
) -> None:
    train_set = scenes(num_train=8).train_and_val(seed=0)[0]
    spoil(accumulate + 1, "nan")  # in the second step
    model = train(
        train_set=train_set, on_divergence="skip", accumulate=accumulate, save_every=1, keep=9, trackers=["tensorboard"]
    )
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    folders = sorted((tmp_path / "checkpoints").glob("step_*"))
    unchanged = [same(*pair) for pair in pairwise(weights(folder) for folder in folders)]
    assert unchanged == [True] + [False] * (len(unchanged) - 1)
    assert load_training(folders[-1])["progress"]["skipped"] == skipped_steps(folders[-1]) == 1
    assert "step 2 is skipped: {'images': [" in caplog.text
    assert not (tmp_path / "diverged").exists()
    accumulator = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in accumulator.Scalars("optimiser/skipped")] == [0.0] + [1.0] * len(unchanged)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({1, 2}, r"all 2 steps had to be skipped, as .*/train\.log .*overwrite=true"),
        ({2, 3, 4}, r"3 steps in a row, up to step 4, had to be skipped, as .*: scene_001_00002.*allow_change="),
        ({1, 2, 4, 5}, None),
    ],
)
def test_too_many_skipped_steps_end_the_run(
    tmp_path: Path, train: Any, monkeypatch: pytest.MonkeyPatch, bad: set[int], message: str | None
) -> None:
    loss, calls = trainer.ipsam_loss, []

    def spoilt(*arguments: Any) -> dict[str, torch.Tensor]:
        calls.append(1)
        losses = loss(*arguments)
        return losses | {"total": losses["total"] * (float("nan") if len(calls) in bad else 1)}

    monkeypatch.setattr(trainer, "ipsam_loss", spoilt)
    monkeypatch.setattr(run_state, "MAX_SKIPPED", 3)
    options = {"on_divergence": "skip", "epochs": 1 if max(bad) == 2 else 4, "log_every": 100}
    if message is None:
        train(**options)
    else:
        with pytest.raises(ValueError, match=f"training diverged: {message}"):
            train(**options)


@pytest.mark.slow
def test_verdict_read_late_stops_at_the_same_state(tmp_path: Path, train: Any, scenes: Any, spoil: Any) -> None:
    train_set = scenes(num_train=12).train_and_val(seed=0)[0]
    models = {}
    for name, settings in (("often", {"save_every": 1, "keep": 9}), ("seldom", {"log_every": 100})):
        spoil(BAD_STEP, "nan")
        models[name] = model_of(1)
        with pytest.raises(ValueError, match="training diverged at step 3, in epoch 1"):
            train(name, model=models[name], train_set=train_set, **settings)
    assert same(*(model.state_dict() for model in models.values()))
    often, seldom = (tmp_path / name / "diverged" / "step_00000003" for name in models)
    assert (often / "step.json").read_text() == (seldom / "step.json").read_text()
    assert torch.equal(*(load_file(folder / "batch.safetensors")["image"] for folder in (often, seldom)))
    assert load_training(often)["progress"] == load_training(seldom)["progress"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_host_waits_for_the_device_on_log_steps_only(
    train: Any, scenes: Any, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    train_set = scenes(num_train=16).train_and_val(seed=0)[0]
    backward, asked, steps = trainer.Accelerator.backward, [], []

    def begins(*arguments: Any) -> None:
        steps.append(len(steps) + 1)
        backward(*arguments)

    def counted(name: str) -> Any:
        original = getattr(torch.Tensor, name)

        def ask(tensor: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            asked.append((steps[-1] if steps else 0, name))
            return original(tensor, *arguments, **options)

        return ask

    monkeypatch.setattr(trainer.Accelerator, "backward", begins)
    for name in ("item", "tolist", "cpu", "__bool__", "__float__", "__int__", "__index__"):
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    train(train_set=train_set, log_every=4, precision=precision)
    assert steps == list(range(1, 9))
    assert {step for step, _ in asked if 0 < step < 8} == {4}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_synchronises_with_the_gpu(train: Any, scenes: Any) -> None:
    train_set = scenes(num_train=16).train_and_val(seed=0)[0]
    forward, calls = IPSAM.forward, []

    def watched(model: IPSAM, image: torch.Tensor) -> Any:
        calls.append(1)
        torch.cuda.set_sync_debug_mode("error" if 2 <= len(calls) < 7 else "default")
        return forward(model, image)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IPSAM, "forward", watched)
        try:
            train(train_set=train_set, cpu=False, log_every=100)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(calls) == 8
