"""A loss or gradient that is not finite never reaches a weight."""

import errno
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from training import fit, model_of

from ipsam.data import TrainSet
from ipsam.engine import run_state, trainer
from ipsam.engine.checkpoint import damage, load_training
from ipsam.model import IPSAM

BAD_STEP = 3


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the loss of one forward pass, or its gradient alone, what is given."""

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
    """The weights after so many steps, which are all kept."""
    model = model_of(1)
    fit(model, train_set, folder, settings)
    state = load_file(folder / "checkpoints" / f"step_{step:08d}" / "model.safetensors")
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
def test_the_run_stops_and_keeps_what_led_to_it(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, spoil: Any, kind: str
) -> None:
    settings = make_settings(epochs=2, save_every=1, keep=9)
    healthy = steps_to(BAD_STEP - 1, train_set, tmp_path / "healthy", settings)
    spoil(BAD_STEP, kind)
    model = model_of(1)
    with pytest.raises(ValueError, match=r"training diverged at step 3, in epoch 2: loss .*, norm of the") as told:
        fit(model, train_set, tmp_path / "run", settings)
    assert all(torch.equal(tensor, healthy.state_dict()[key]) for key, tensor in model.state_dict().items())
    kept = tmp_path / "run" / "diverged" / "step_00000003"
    assert damage(kept) is None
    assert load_training(kept)["progress"]["step"] == BAD_STEP - 1
    assert all(
        torch.equal(tensor, model.state_dict()[key]) for key, tensor in load_file(kept / "model.safetensors").items()
    )
    seen = json.loads((kept / "seen.json").read_text())
    assert len(seen["images"]) == 2
    for image in seen["images"]:
        assert image in str(told.value)
    assert str(kept) in str(told.value)
    assert "engine.on_divergence=skip" in str(told.value)
    batch = load_file(kept / "batch.safetensors")
    assert batch["image"].shape == (2, 3, 64, 64)
    assert batch["image"].dtype == torch.uint8
    newest = tmp_path / "run" / "checkpoints" / "last"
    assert load_training(newest)["progress"]["step"] == BAD_STEP - 1


def test_the_run_goes_on_after_it(tmp_path: Path, make_settings: Any, train_set: TrainSet, spoil: Any) -> None:
    """As if nothing had been, once the cause is gone."""
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
def test_running_statistics_are_put_back(tmp_path: Path, make_settings: Any, train_set: TrainSet, action: str) -> None:
    """A forward pass changes those of a batch normalisation before any loss is known."""
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


def test_a_full_disk_does_not_hide_the_divergence(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    spoil(BAD_STEP, "nan")
    monkeypatch.setattr(run_state, "save_checkpoint", full)
    with pytest.raises(
        ValueError, match=r"diverged at step 3.*could not be kept in .*diverged/step_00000003 \(No space"
    ):
        fit(model_of(1), train_set, tmp_path, make_settings(epochs=2))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_step_is_left_out_and_counted(
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
    assert "step 2 is left out: {'images': [" in caplog.text
    assert not (tmp_path / "diverged").exists()
    accumulator = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in accumulator.Scalars("optimiser/skipped")] == [0.0] + [1.0] * len(same)
