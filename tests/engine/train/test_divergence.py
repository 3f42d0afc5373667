"""A loss or gradient that is not finite never reaches a weight."""

import errno
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.training import fit, model_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from ipsam.data import TrainSet
from ipsam.engine.runs.checkpoint import damage, load_training
from ipsam.engine.train import state as run_state
from ipsam.engine.train import trainer
from ipsam.model import IPSAM

BAD_STEP = 3


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace the loss or the gradient of one forward pass."""

    def at(forward_pass: int, kind: str) -> None:
        loss, calls = trainer.ipsam_loss, []

        def spoilt(*arguments: Any) -> dict[str, torch.Tensor]:
            losses = loss(*arguments)
            calls.append(1)
            if len(calls) == forward_pass:
                if kind == "gradient":
                    losses["total"].register_hook(lambda gradient: gradient * float("nan"))
                else:
                    losses["total"] = losses["total"] + float(kind)
            return losses

        monkeypatch.setattr(trainer, "ipsam_loss", spoilt)

    return at


def steps_to(step: int, train_set: TrainSet, folder: Path, settings: Any) -> IPSAM:
    """Return the model after so many steps of a run that keeps all its checkpoints."""
    model = model_of(1)
    fit(model, train_set, folder, settings)
    state = load_file(folder / "checkpoints" / f"step_{step:08d}" / "model.safetensors")
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize(
    "kind", [pytest.param("nan", marks=pytest.mark.slow), pytest.param("inf", marks=pytest.mark.slow), "gradient"]
)
def test_run_stops_and_saves_the_state_before_the_bad_step(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, spoil: Any, kind: str
) -> None:
    settings = make_settings(epochs=2, save_every=1, keep=9)
    healthy = steps_to(BAD_STEP - 1, train_set, tmp_path / "healthy", settings)
    spoil(BAD_STEP, kind)
    model = model_of(1)
    with pytest.raises(ValueError, match=r"training diverged at step 3, in epoch 2: loss .*, gradient norm") as error:
        fit(model, train_set, tmp_path / "run", settings)
    assert all(torch.equal(tensor, healthy.state_dict()[key]) for key, tensor in model.state_dict().items())
    kept = tmp_path / "run" / "diverged" / "step_00000003"
    assert damage(kept) is None
    assert load_training(kept)["progress"]["step"] == BAD_STEP - 1
    assert all(
        torch.equal(tensor, model.state_dict()[key]) for key, tensor in load_file(kept / "model.safetensors").items()
    )
    step = json.loads((kept / "step.json").read_text())
    assert len(step["images"]) == 2
    for image in step["images"]:
        assert image in str(error.value)
    assert str(kept) in str(error.value)
    assert "engine.on_divergence=skip" in str(error.value)
    batch = load_file(kept / "batch.safetensors")
    assert batch["image"].shape == (2, 3, 64, 64)
    assert batch["image"].dtype == torch.uint8
    newest = tmp_path / "run" / "checkpoints" / "last"
    assert load_training(newest)["progress"]["step"] == BAD_STEP - 1


def test_resume_after_divergence_is_bit_exact(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, spoil: Any
) -> None:
    settings = make_settings(epochs=2, save_every=1)
    straight = fit(model_of(1), train_set, tmp_path / "one", settings)
    with pytest.MonkeyPatch.context() as patch:
        loss = trainer.ipsam_loss
        spoil(BAD_STEP, "nan")
        with pytest.raises(ValueError, match="diverged"):
            fit(model_of(1), train_set, tmp_path / "two", settings)
        patch.setattr(trainer, "ipsam_loss", loss)
        resumed = fit(model_of(2), train_set, tmp_path / "two", settings, resume=True)
    assert all(torch.equal(tensor, resumed.state_dict()[key]) for key, tensor in straight.state_dict().items())


@pytest.mark.parametrize("action", ["skip", "stop"])
def test_batch_norm_statistics_are_restored(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, action: str
) -> None:
    """A forward pass changes them before the loss is known."""
    model = model_of(1)
    model.norm = nn.BatchNorm2d(3)
    forward, calls = model.forward, []

    def through_norm(image: torch.Tensor) -> Any:
        calls.append(1)
        spoilt = torch.full_like(image, float("nan")) if len(calls) == BAD_STEP else image
        return forward(image + 0 * model.norm(spoilt))

    model.forward = through_norm  # type: ignore[method-assign]
    settings = make_settings(epochs=2, on_divergence=action, save_every=1, keep=9)
    if action == "stop":
        with pytest.raises(ValueError, match="diverged"):
            fit(model, train_set, tmp_path, settings)
        kept = load_file(tmp_path / "diverged" / f"step_{BAD_STEP:08d}" / "model.safetensors")
        before = load_file(tmp_path / "checkpoints" / f"step_{BAD_STEP - 1:08d}" / "model.safetensors")
        assert all(torch.equal(tensor, before[key]) for key, tensor in kept.items())
    else:
        fit(model, train_set, tmp_path, settings)
        assert model.norm.num_batches_tracked == len(calls) - 1
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


def test_full_disk_does_not_hide_the_divergence(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    spoil(BAD_STEP, "nan")
    monkeypatch.setattr(run_state, "save_checkpoint", full)
    with pytest.raises(
        ValueError, match=r"diverged at step 3.*could not be saved in .*diverged/step_00000003 \(No space"
    ):
        fit(model_of(1), train_set, tmp_path, make_settings(epochs=2))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_bad_step_is_skipped_and_counted(
    tmp_path: Path, make_settings: Any, scenes: Any, spoil: Any, caplog: pytest.LogCaptureFixture, accumulate: int
) -> None:
    train_set = scenes(num_train=8).train_and_val(seed=0)[0]
    settings = make_settings(on_divergence="skip", accumulate=accumulate, save_every=1, keep=9)
    spoil(accumulate + 1, "nan")  # in the second step
    model = fit(model_of(1), train_set, tmp_path, settings)
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    folders = sorted((tmp_path / "checkpoints").glob("step_*"))
    states = [load_file(folder / "model.safetensors") for folder in folders]
    same = [
        all(torch.equal(tensor, after[key]) for key, tensor in before.items()) for before, after in pairwise(states)
    ]
    assert same == [True] + [False] * (len(same) - 1)
    assert load_training(folders[-1])["progress"]["skipped"] == 1
    assert "step 2 is skipped: {'images': [" in caplog.text
    assert not (tmp_path / "diverged").exists()
    accumulator = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in accumulator.Scalars("optimiser/skipped")] == [0.0] + [1.0] * len(same)


@pytest.mark.slow
@pytest.mark.parametrize("action", ["skip", "stop"])
def test_verdicts_read_late_change_nothing(
    tmp_path: Path, make_settings: Any, scenes: Any, spoil: Any, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    train_set = scenes(num_train=12).train_and_val(seed=0)[0]
    often = make_settings(on_divergence=action, save_every=1, keep=9)
    seldom = make_settings(on_divergence=action, log_every=100)
    folders, models = {"often": tmp_path / "often", "seldom": tmp_path / "seldom"}, {}
    for name, settings in (("often", often), ("seldom", seldom)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainer, "ipsam_loss", trainer.ipsam_loss)
            spoil(BAD_STEP, "nan")
            models[name] = model_of(1)
            if action == "stop":
                with pytest.raises(ValueError, match="training diverged at step 3, in epoch 1"):
                    fit(models[name], train_set, folders[name], settings)
            else:
                fit(models[name], train_set, folders[name], settings)
    early, late = models["often"].state_dict(), models["seldom"].state_dict()
    assert all(torch.equal(tensor, late[key]) for key, tensor in early.items())
    if action == "stop":
        steps = [json.loads((folder / "diverged/step_00000003/step.json").read_text()) for folder in folders.values()]
        assert str(steps[0]) == str(steps[1])  # NaN equals nothing
        images = [
            load_file(folder / "diverged/step_00000003/batch.safetensors")["image"] for folder in folders.values()
        ]
        assert torch.equal(*images)
        kept = tmp_path / "seldom" / "diverged" / "step_00000003"
        assert load_training(kept)["progress"] | {"history": []} == {
            **{"epoch": 0, "batch": 2, "step": 2, "skipped": 0},
            **{"best": None, "best_step": None, "history": []},
        }
    else:
        assert caplog.text.count("step 3 is skipped") == 2
        assert load_training(folders["seldom"] / "checkpoints" / "last")["progress"]["skipped"] == 1


def test_host_waits_for_the_device_on_log_steps_only(
    tmp_path: Path, make_settings: Any, scenes: Any, monkeypatch: pytest.MonkeyPatch
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
    fit(model_of(1), train_set, tmp_path, make_settings(log_every=4))
    assert steps == list(range(1, 9))
    assert {step for step, _ in asked if 0 < step < 8} == {4}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_synchronises_with_the_gpu(tmp_path: Path, make_settings: Any, scenes: Any) -> None:
    train_set = scenes(num_train=16).train_and_val(seed=0)[0]
    forward, calls = IPSAM.forward, []

    def watched(model: IPSAM, image: torch.Tensor) -> Any:
        calls.append(1)
        torch.cuda.set_sync_debug_mode("error" if 2 <= len(calls) < 7 else "default")
        return forward(model, image)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IPSAM, "forward", watched)
        try:
            fit(model_of(1), train_set, tmp_path, make_settings(cpu=False, log_every=100))
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(calls) == 8
