from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.defaults import augment_with, loss_weights_with
from support.training import CONFIG, PowerCutError, fit, model_of

from ipsam.data import TrainSet
from ipsam.data.sources import Sample, Source, SyntheticSource
from ipsam.engine.runs.checkpoint import load_training, load_weights, save_checkpoint
from ipsam.engine.runs.model_folder import find_checkpoint
from ipsam.engine.train import trainer
from ipsam.engine.train.losses import ipsam_loss
from ipsam.model import LoRA
from ipsam.utils.imagenet import normalise


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, through dicts and lists of tensors and plain values."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


class Repeated(Source):
    """The same eight scenes in every pass."""

    scenes = SyntheticSource(8, 64, (0.0, 0.1), (9,))

    def __len__(self) -> int:
        return len(self.scenes)

    def read(self, index: int, epoch: int) -> Sample:
        return self.scenes.read(index, epoch=0)


@pytest.mark.slow
def test_one_batch_is_overfitted(tmp_path: Path, make_settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "panel", lambda *_: np.zeros((1, 1, 3), np.uint8))  # one an epoch costs time
    plain = TrainSet(Repeated(), image_size=64, augment=augment_with(hflip=0.0), seed=0)
    model = model_of(0)
    items = [plain[index] for index in range(8)]
    image, mask = (torch.stack([item[name] for item in items]) for name in ("image", "mask"))

    @torch.no_grad()
    def loss() -> dict[str, float]:
        losses = ipsam_loss(model.train()(normalise(image)), mask.div(255), loss_weights_with())
        return {name: value.item() for name, value in losses.items()}

    before = loss()
    fit(
        model,
        plain,
        tmp_path,
        make_settings(epochs=80, batch_size=8, lr=2e-3, min_lr=2e-3, warmup_steps=10),
    )
    after = loss()
    assert after["total"] < 0.3 * before["total"]
    for output in ("coarse", "refined", "fg", "bg"):
        assert after[f"{output}/iou"] < 0.4


@pytest.mark.usefixtures("untyped")  # beartype draws from Python's generator
@pytest.mark.parametrize(
    ("cuts", "num_workers"), [((3,), 0), ((2,), 2), pytest.param((1, 3, 4, 5), 2, marks=pytest.mark.slow)]
)
def test_resume_is_bit_exact(
    tmp_path: Path, make_settings: Any, scenes: Any, interrupt: Any, num_workers: int, cuts: tuple[int, ...]
) -> None:
    """In the middle of an epoch (1, 3, 5) and at its end (2, 4); the last step of each epoch is a short one.

    With dropout, so that the random generators' states count too.
    """
    options = {"lora": LoRA(rank=2, dropout=0.3)}
    sets = scenes(num_train=7, num_test=2, hflip=0.5)
    train_set, val_set = sets.train_and_val(seed=0)[0], sets.test_sets()["synthetic"]
    settings = make_settings(epochs=3, accumulate=2, num_workers=num_workers, save_every=1)

    straight = fit(model_of(1, **options), train_set, tmp_path / "one", settings, val_set=val_set)

    for number, cut in enumerate(cuts):
        interrupt(cut)
        with pytest.raises(PowerCutError):
            fit(model_of(1 + number, **options), train_set, tmp_path / "two", settings, val_set=val_set, resume=True)
    interrupt(None)
    resumed = fit(model_of(2, **options), train_set, tmp_path / "two", settings, val_set=val_set, resume=True)

    assert same(straight.state_dict(), resumed.state_dict())
    for name in ("last", "best"):
        one, two = (tmp_path / run / "checkpoints" / name for run in ("one", "two"))
        assert same(load_training(one), load_training(two))  # optimiser, random generators, history
        assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
    progress = load_training(tmp_path / "two" / "checkpoints" / "last")["progress"]
    assert (progress["epoch"], progress["batch"]) == (3, 0)
    assert progress["step"] == 3 * 2  # 7 scenes by 2 are 4 batches, by 2 again 2 steps
    assert [entry["epoch"] for entry in progress["history"]] == [1, 2, 3]


def test_each_epoch_reads_every_sample_once(tmp_path: Path, make_settings: Any) -> None:
    read: list[tuple[int, int]] = []

    class Watched(Repeated):
        def read(self, index: int, epoch: int) -> Sample:
            read.append((epoch, index))
            return super().read(index, epoch)

    watched = TrainSet(Watched(), image_size=64, augment=augment_with(hflip=0.0), seed=0)
    fit(model_of(1), watched, tmp_path, make_settings(epochs=2, batch_size=4))
    passes = [read[:8], read[8:]]
    assert [sorted(entries) for entries in passes] == [[(epoch, index) for index in range(8)] for epoch in (0, 1)]
    assert [index for _, index in passes[0]] != [index for _, index in passes[1]]


def test_workers_change_nothing(tmp_path: Path, make_settings: Any, train_set: TrainSet) -> None:
    models = [
        fit(model_of(1), train_set, tmp_path / str(workers), make_settings(epochs=2, num_workers=workers))
        for workers in (0, 2)
    ]
    assert same(*(model.state_dict() for model in models))


def test_resume_without_checkpoint_starts_anew(tmp_path: Path, make_settings: Any, train_set: TrainSet) -> None:
    one = fit(model_of(1), train_set, tmp_path / "one", make_settings())
    two = fit(model_of(1), train_set, tmp_path / "two", make_settings(), resume=True)
    assert same(one.state_dict(), two.state_dict())


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path, make_settings: Any, train_set: TrainSet) -> None:
    finished = fit(model_of(1), train_set, tmp_path, make_settings())
    files = {path: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*.*") if path.is_file()}
    again = fit(model_of(2), train_set, tmp_path, make_settings(), resume=True)
    assert same(finished.state_dict(), again.state_dict())
    assert files == {path: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*.*") if path.is_file()}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", ["model.safetensors", "training.pt"])
def test_damaged_checkpoint_is_named_and_the_previous_one_used(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, interrupt: Any, name: str, caplog: Any
) -> None:
    settings = make_settings(epochs=3, save_every=1)
    straight = fit(model_of(1), train_set, tmp_path / "one", settings)
    interrupt(3)
    with pytest.raises(PowerCutError):
        fit(model_of(1), train_set, tmp_path / "two", settings)
    interrupt(None)
    damaged = tmp_path / "two" / "checkpoints" / "step_00000003"
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    resumed = fit(model_of(2), train_set, tmp_path / "two", settings, resume=True)
    assert f"skipping {damaged}: {name} is damaged" in caplog.text
    assert same(straight.state_dict(), resumed.state_dict())
    assert same(*(load_training(tmp_path / run / "checkpoints" / "last") for run in ("one", "two")))


def test_another_number_of_processes_is_refused(tmp_path: Path, make_settings: Any, train_set: TrainSet) -> None:
    fit(model_of(1), train_set, tmp_path, make_settings())
    checkpoint = tmp_path / "checkpoints" / "step_00000002"
    training = load_training(checkpoint)
    save_checkpoint(checkpoint, model_of(1), config=CONFIG, training=training | {"rng": training["rng"] * 2})
    with pytest.raises(ValueError, match=r"was saved by 2 processes, not 1: resume with the same number of processes"):
        fit(model_of(1), train_set, tmp_path, make_settings(epochs=2), resume=True)


def test_state_of_another_version_is_refused(tmp_path: Path, make_settings: Any, train_set: TrainSet) -> None:
    fit(model_of(1), train_set, tmp_path, make_settings())
    checkpoint = tmp_path / "checkpoints" / "step_00000002"
    training = load_training(checkpoint)
    training["progress"]["unheard_of"] = 1
    save_checkpoint(checkpoint, model_of(1), config=CONFIG, training=training)
    with pytest.raises(ValueError, match=r"cannot resume from .*step_00000002: it is from another version or model"):
        fit(model_of(1), train_set, tmp_path, make_settings(epochs=2), resume=True)


def test_deterministic_runs_give_equal_bits(tmp_path: Path, make_settings: Any, train_set: TrainSet) -> None:
    """With torch refusing whatever would not; every operation of training and prediction has a deterministic form."""
    settings = make_settings(epochs=2, deterministic=True)
    try:
        settings.set_up_process()
        assert torch.are_deterministic_algorithms_enabled()
        one, two = (fit(model_of(1), train_set, tmp_path / name, settings) for name in ("one", "two"))
    finally:
        torch.use_deterministic_algorithms(False)
    assert same(one.state_dict(), two.state_dict())


def test_only_trainable_parameters_change(tmp_path: Path, make_settings: Any, train_set: TrainSet) -> None:
    model = model_of(1, lora=LoRA(rank=2))
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    fit(model, train_set, tmp_path, make_settings(epochs=2))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


def test_accumulated_batches_equal_one_large_one(tmp_path: Path, make_settings: Any) -> None:
    plain = TrainSet(Repeated(), image_size=64, augment=augment_with(hflip=0.0), seed=0)
    large, small = (
        fit(
            model_of(1),
            plain,
            tmp_path / str(accumulate),
            make_settings(epochs=2, batch_size=8 // accumulate, accumulate=accumulate, warmup_steps=0, clip=0.5),
        )
        for accumulate in (1, 4)
    )
    start = model_of(1).state_dict()
    moved = 0.0
    for name, tensor in large.state_dict().items():
        torch.testing.assert_close(small.state_dict()[name], tensor, atol=2e-4, rtol=0, msg=name)
        moved = max(moved, (tensor - start[name]).abs().max().item())
    assert moved > 1.5e-3  # by far more than that tolerance: two steps of 1e-3


def test_learning_rate_follows_the_schedule(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[float] = []
    step = torch.optim.AdamW.step

    def watched(optimizer: Any, *arguments: Any, **options: Any) -> Any:
        used.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    settings = make_settings(epochs=4, accumulate=2)
    fit(model_of(1), train_set, tmp_path, settings)
    assert used == [settings.lr_at(step, 4) for step in range(4)]


def test_bf16_trains_and_keeps_weights_in_single_precision(
    tmp_path: Path, make_settings: Any, train_set: TrainSet
) -> None:
    model = fit(model_of(1), train_set, tmp_path, make_settings(precision="bf16"))
    assert all(tensor.dtype == torch.float32 for tensor in model.state_dict().values() if tensor.is_floating_point())
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert not same(model.state_dict(), model_of(1).state_dict())


def test_frozen_model_is_saved_unchanged(make_settings: Any, tmp_path: Path) -> None:
    model = model_of(0).requires_grad_(False)
    fit(model, None, tmp_path, make_settings())
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step_00000000"
    fresh = model_of(1).requires_grad_(False)
    load_weights(fresh, tmp_path / "checkpoints" / "last")
    assert all(torch.equal(tensor, fresh.state_dict()[key]) for key, tensor in model.state_dict().items())


def test_missing_training_set_is_named(make_settings: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.train is empty: name at least one set"):
        fit(model_of(0), None, tmp_path, make_settings())
