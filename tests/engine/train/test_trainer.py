from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.defaults import augment_with, loss_weights_with
from support.quick import every
from support.training import CONFIG, PowerCutError, model_of, same

from ipsam.data import EpochBatches, EpochSampler, TrainSet
from ipsam.data.sources import Sample, Source, SyntheticSource
from ipsam.engine.runs import checkpoint
from ipsam.engine.runs.checkpoint import load_training, load_weights, save_checkpoint
from ipsam.engine.runs.model_folder import find_checkpoint
from ipsam.engine.train import trainer
from ipsam.engine.train.losses import ipsam_loss
from ipsam.engine.train.trainer import loss_weight
from ipsam.model import LoRA
from ipsam.utils.imagenet import normalise


class Repeated(Source):
    """The same scenes in every pass, with a record of the reads."""

    def __init__(self, num_images: int) -> None:
        self.scenes = SyntheticSource(num_images, 64, (0.0, 0.1), (9,))
        self.reads: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self.scenes)

    def read(self, index: int, epoch: int) -> Sample:
        self.reads.append((epoch, index))
        return self.scenes.read(index, epoch=0)


@pytest.fixture
def repeated() -> TrainSet:
    return TrainSet(Repeated(8), image_size=64, augment=augment_with(hflip=0.0), seed=0)


@pytest.mark.slow
def test_one_batch_is_overfitted(train: Any, repeated: TrainSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "panel", lambda *_: np.zeros((1, 1, 3), np.uint8))  # one an epoch costs time
    model = model_of(0)
    items = [repeated[index] for index in range(8)]
    image, mask = (torch.stack([item[name] for item in items]) for name in ("image", "mask"))

    @torch.no_grad()
    def loss() -> dict[str, float]:
        losses = ipsam_loss(model.train()(normalise(image)), mask.div(255), loss_weights_with())
        return {name: value.item() for name, value in losses.items()}

    before = loss()
    train(model=model, train_set=repeated, epochs=80, batch_size=8, lr=2e-3, min_lr=2e-3, warmup_steps=10)
    after = loss()
    assert after["total"] < 0.3 * before["total"]
    assert all(after[f"{output}/iou"] < 0.4 for output in ("coarse", "refined", "fg", "bg"))


@pytest.mark.usefixtures("untyped")  # beartype draws from Python's generator
@pytest.mark.parametrize(("cuts", "num_workers"), [((3,), 2), pytest.param((1, 2, 4, 5), 0, marks=pytest.mark.slow)])
def test_resume_is_bit_exact(
    tmp_path: Path, train: Any, scenes: Any, interrupt: Any, num_workers: int, cuts: tuple[int, ...]
) -> None:
    """In the middle of an epoch (1, 3, 5) and at its end (2, 4); the last step of each epoch is a short one.

    Dropout makes the random generators' states count too.
    """
    sets = scenes(num_train=7, num_test=2, hflip=0.5)
    options: dict[str, Any] = {"train_set": sets.train_and_val(seed=0)[0], "val_set": sets.test_sets()["synthetic"]}
    options |= {"epochs": 3, "accumulate": 2, "num_workers": num_workers, "save_every": 1}

    def model(seed: int) -> Any:
        return model_of(seed, lora=LoRA(rank=2, dropout=0.3))

    straight = train("one", model=model(1), **options | {"num_workers": 0})
    for number, cut in enumerate(cuts):
        interrupt(cut)
        with pytest.raises(PowerCutError):
            train("two", model=model(1 + number), resume=True, **options)
    interrupt(None)
    resumed = train("two", model=model(2), resume=True, **options)

    assert same(straight.state_dict(), resumed.state_dict())
    for name in ("last", "best"):
        one, two = (tmp_path / run / "checkpoints" / name for run in ("one", "two"))
        assert same(load_training(one), load_training(two))  # optimiser, random generators, history
        assert (one / "model.safetensors").read_bytes() == (two / "model.safetensors").read_bytes()
    progress = load_training(tmp_path / "two" / "checkpoints" / "last")["progress"]
    assert (progress["epoch"], progress["batch"]) == (3, 0)
    assert progress["step"] == 3 * 2  # 7 scenes by 2 are 4 batches, by 2 again 2 steps
    assert [entry["epoch"] for entry in progress["history"]] == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.usefixtures("untyped")
def test_resume_with_groups_is_bit_exact(tmp_path: Path, train: Any, interrupt: Any) -> None:
    groups = [{"match": "^decoder", "lr_scale": 3.0}, {"match": "gating", "weight_decay": 0.0}]
    options = {"epochs": 2, "save_every": 1, "groups": groups, "decay_all": False, "schedule": "poly"}
    straight = train("one", **options)
    interrupt(3)
    with pytest.raises(PowerCutError):
        train("two", **options)
    interrupt(None)
    resumed = train("two", seed=2, resume=True, **options)
    assert same(straight.state_dict(), resumed.state_dict())
    one, two = (load_training(tmp_path / run / "checkpoints" / "last")["optimizer"] for run in ("one", "two"))
    assert same(one, two)
    assert [group["lr_scale"] for group in one["param_groups"]].count(3.0) == 2  # with and without weight decay


@pytest.mark.parametrize(("settings", "times"), [({"warmup_steps": 2}, 1), ({"warmup_share": 0.5}, 0)])
def test_warm_up_that_does_not_end_is_told(train: Any, caplog: Any, settings: dict[str, Any], times: int) -> None:
    train(**settings)
    assert caplog.text.count("the warm-up of 2 steps does not end before the run of 2 does: set engine.warm") == times


def test_other_versions_are_told_on_resume(
    train: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    train()
    train(resume=True)
    assert "saved with" not in caplog.text
    monkeypatch.setattr(checkpoint, "versions", lambda: {"torch": "99", "sam2": "99"})
    train(resume=True)
    assert f"saved with torch {torch.__version__} (now 99), sam2 " in caplog.text


def test_each_epoch_reads_every_sample_once(train: Any, repeated: TrainSet) -> None:
    train(train_set=repeated, epochs=2, batch_size=4)
    reads = repeated.source.reads  # type: ignore[attr-defined]
    passes = [reads[:8], reads[8:]]
    assert [sorted(entries) for entries in passes] == [[(epoch, index) for index in range(8)] for epoch in (0, 1)]
    assert [index for _, index in passes[0]] != [index for _, index in passes[1]]


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path, train: Any) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (tmp_path / "checkpoints").rglob("*.*") if path.is_file()}

    finished, before = train(), files()
    assert same(finished.state_dict(), train(seed=2, resume=True).state_dict())
    assert files() == before


@pytest.mark.slow
@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", ["model.safetensors", "training.pt"])
def test_damaged_checkpoint_is_named_and_the_previous_one_used(
    tmp_path: Path, train: Any, interrupt: Any, name: str, caplog: Any
) -> None:
    straight = train("one", epochs=3, save_every=1)
    interrupt(3)
    with pytest.raises(PowerCutError):
        train("two", epochs=3, save_every=1)
    interrupt(None)
    damaged = tmp_path / "two" / "checkpoints" / "step_00000003"
    content = bytearray((damaged / name).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / name).write_bytes(content)
    resumed = train("two", seed=2, resume=True, epochs=3, save_every=1)
    assert f"skipping {damaged}: {name} is damaged" in caplog.text
    assert same(straight.state_dict(), resumed.state_dict())
    assert same(*(load_training(tmp_path / run / "checkpoints" / "last") for run in ("one", "two")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda training: {"step_images": training["step_images"] / 2},
            r"cannot resume from .*step_00000002: it is from another version or model",
        ),
        (
            lambda training: {"progress": training["progress"] | {"unheard_of": 1}},
            r"cannot resume from .*step_00000002: it is from another version or model",
        ),
    ],
    ids=["images a step", "version"],
)
def test_unsuitable_state_is_refused(tmp_path: Path, train: Any, change: Any, message: str) -> None:
    checkpoint = tmp_path / "checkpoints" / "step_00000002"
    model = train()
    training = load_training(checkpoint)
    save_checkpoint(checkpoint, model, config=CONFIG, training=training | change(training))
    with pytest.raises(ValueError, match=message):
        train(epochs=2, resume=True)


@pytest.mark.slow
def test_deterministic_runs_give_equal_bits(train: Any, make_settings: Any) -> None:
    """Torch refuses any operation of training and validation that has no deterministic form."""
    try:
        make_settings(deterministic=True).set_up_process()
        assert torch.are_deterministic_algorithms_enabled()
        one, two = (train(name, epochs=2, deterministic=True) for name in ("one", "two"))
    finally:
        torch.use_deterministic_algorithms(False)
    assert same(one.state_dict(), two.state_dict())


@pytest.mark.parametrize(("num_images", "clip"), every(3, [(7, 0.5), (8, 0.5), (5, 100.0)]))
def test_accumulated_batches_equal_one_large_one(train: Any, num_images: int, clip: float) -> None:
    """Also at the end of an epoch, where passes are missing or the last one has fewer images."""
    train_set = TrainSet(Repeated(num_images), image_size=64, augment=augment_with(hflip=0.0), seed=0)
    options = {"train_set": train_set, "epochs": 2, "warmup_steps": 0, "clip": clip}
    large, *others = (train(str(n), **options, batch_size=4 // n, accumulate=n).state_dict() for n in (1, 2, 4))
    start = model_of(1).state_dict()
    for name, tensor in large.items():
        for small in others:
            if not name.endswith("k_proj.bias"):  # its gradient is nothing but rounding, which Adam scales up
                torch.testing.assert_close(small[name], tensor, atol=5e-4, rtol=0, msg=name)
    moved = max((tensor - start[name]).abs().max().item() for name, tensor in large.items())
    assert moved > 1.5e-3  # by far more than that tolerance: several steps of 1e-3


@pytest.mark.parametrize("length", [12, 11, 7, 2])
@pytest.mark.parametrize(
    ("num_processes", "batch_size", "passes"), [(1, 6, 1), (1, 2, 3), (2, 3, 1), (2, 1, 3), (3, 2, 1), (3, 1, 2)]
)
def test_steps_do_not_depend_on_the_number_of_processes(
    length: int, num_processes: int, batch_size: int, passes: int
) -> None:
    """Each takes the next six images of one order, the last one the rest, and each image counts the same."""
    order = EpochSampler(length, seed=3)
    order.epoch = 2
    shares = [EpochBatches(order, batch_size, process=i, num_processes=num_processes) for i in range(num_processes)]
    samples, steps = list(order), [Counter[int]() for _ in range(-(-length // 6))]
    for share in shares:
        assert len(list(share)) == len(share) == len(shares[0])
        for turn, batch in enumerate(share):
            weight = loss_weight(turn, share, passes) / (passes * num_processes * len(batch))
            steps[turn // passes].update(dict.fromkeys(batch, weight) if weight else {})
    for number, step in enumerate(steps):
        expected = samples[6 * number : 6 * number + 6]
        assert step == pytest.approx(dict.fromkeys(expected, 1 / len(expected)))
    share.first = 1
    assert len(list(share)) == len(share) - 1


@pytest.mark.parametrize(("num_images", "accumulate"), [(5, 4), (4, 4), (1, 4), (7, 3)])
def test_equal_images_give_every_step_the_same_gradient(
    train: Any, monkeypatch: pytest.MonkeyPatch, num_images: int, accumulate: int
) -> None:
    class Same(Repeated):
        def read(self, index: int, epoch: int) -> Sample:
            return super().read(0, epoch)

    norms: list[float] = []
    check = trainer.DivergenceGuard.check

    def watched(guard: Any, norm: torch.Tensor, **options: Any) -> Any:
        norms.append(norm.item())
        return check(guard, norm, **options)

    monkeypatch.setattr(trainer.DivergenceGuard, "check", watched)
    train_set = TrainSet(Same(num_images), image_size=64, augment=augment_with(hflip=0.0), seed=0)
    train(train_set=train_set, batch_size=1, accumulate=accumulate, lr=1e-9, min_lr=1e-9, weight_decay=0.0)
    assert len(norms) == -(-num_images // accumulate)
    assert norms == pytest.approx([norms[0]] * len(norms), rel=1e-4)
    assert norms[0] > 1


def test_learning_rate_follows_the_schedule(train: Any, make_settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[float] = []
    step = torch.optim.AdamW.step

    def watched(optimizer: Any, *arguments: Any, **options: Any) -> Any:
        used.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    train(epochs=4, accumulate=2)
    assert used == [make_settings(epochs=4, accumulate=2).lr_at(step, 4) for step in range(4)]


def test_bf16_trains_and_keeps_weights_in_single_precision(train: Any) -> None:
    state = train(precision="bf16").state_dict()
    floats = [tensor for tensor in state.values() if tensor.is_floating_point()]
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in floats)
    assert not same(state, model_of(1).state_dict())


def test_frozen_model_is_saved_unchanged(train: Any, tmp_path: Path) -> None:
    model = train(model=model_of(0).requires_grad_(False), train_set=None)
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step_00000000"
    fresh = model_of(1).requires_grad_(False)
    load_weights(fresh, tmp_path / "checkpoints" / "last")
    assert same(model.state_dict(), fresh.state_dict())


def test_missing_training_set_is_named(train: Any) -> None:
    with pytest.raises(ValueError, match=r"data\.train is empty: name at least one set"):
        train(train_set=None)
