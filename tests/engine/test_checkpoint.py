import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import micro_backbone, micro_model, randomise, save_official_format
from safetensors.torch import load_file, save_file

from ipsam.engine import checkpoint
from ipsam.engine.checkpoint import (
    CONFIG,
    TRAINING,
    WEIGHTS,
    find_checkpoint,
    load_training,
    load_weights,
    own_weights,
    put_back,
    rng_state,
    save_checkpoint,
    set_rng_state,
)
from ipsam.model import IPSAM, LoRA

TRAINING_STATE: dict[str, Any] = {
    "optimizer": {"state": {0: torch.arange(3.0)}},
    "rng": rng_state(),
    "progress": {"epoch": 2, "best": None},
}


class Canary:
    """A pickle that leaves a file behind when it is executed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def save(folder: Path, model: IPSAM, **training: Any) -> None:
    save_checkpoint(folder, model, config="model: {}\n", training=TRAINING_STATE | training)


def equal(one: IPSAM, other: IPSAM) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("parts", [{}, {"self_prompt": False}, {"lora": LoRA(rank=2)}], ids=str)
def test_round_trip_to_the_bit(tmp_path: Path, parts: dict[str, Any]) -> None:
    model = micro_model(**parts)
    randomise(model)
    save(tmp_path / "last", model)
    other = micro_model(**parts)
    assert not equal(model, other)
    load_weights(other, tmp_path / "last")
    assert equal(model, other)
    assert (tmp_path / "last" / CONFIG).read_text() == "model: {}\n"
    state = load_training(tmp_path / "last")
    assert state["progress"] == {"epoch": 2, "best": None}
    assert torch.equal(state["optimizer"]["state"][0], torch.arange(3.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last"]


def test_without_a_base_file_everything_is_kept(tmp_path: Path) -> None:
    """The frozen rest would be lost: random weights come from nowhere."""
    model = micro_model(lora=LoRA(rank=2))
    save(tmp_path / "last", model)
    assert load_file(tmp_path / "last" / WEIGHTS).keys() == model.state_dict().keys()


@pytest.mark.parametrize("options", [{"lora": LoRA(rank=2)}, {"fine_tune": True}], ids=["lora", "fine-tuned"])
def test_with_a_base_file_only_what_trains_is_kept(
    tmp_path: Path, micro_checkpoint: Path, options: dict[str, Any]
) -> None:
    model = micro_model(checkpoint=micro_checkpoint, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    save(tmp_path / "last", model)
    kept = load_file(tmp_path / "last" / WEIGHTS).keys()
    assert kept == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not any("prompt_encoder" in name for name in kept)
    other = micro_model(checkpoint=micro_checkpoint, **options)
    load_weights(other, tmp_path / "last")
    assert equal(model, other)


def test_another_base_file_is_refused(tmp_path: Path, micro_checkpoint: Path) -> None:
    lora = LoRA(rank=2)
    model = micro_model(checkpoint=micro_checkpoint, lora=lora)
    save(tmp_path / "last", model)
    torch.manual_seed(1)
    second = save_official_format(tmp_path / "second.pt", micro_backbone())
    other = micro_model(checkpoint=second, lora=lora)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match=rf"sha256 {model.backbone.base_sha256}.*{other.backbone.base_sha256}.*base="):
        load_weights(other, tmp_path / "last")
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_loading_without_the_base_file_is_refused(tmp_path: Path, micro_checkpoint: Path) -> None:
    save(tmp_path / "last", micro_model(checkpoint=micro_checkpoint, lora=LoRA(rank=2)))
    with pytest.raises(ValueError, match="missing: backbone"):
        load_weights(micro_model(lora=LoRA(rank=2)), tmp_path / "last")


def test_other_keys_are_refused_and_listed(tmp_path: Path) -> None:
    save(tmp_path / "last", micro_model(refine=False))
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit .*\n +\d+ missing: refine\."):
        load_weights(micro_model(), tmp_path / "last")
    save(tmp_path / "last", micro_model())
    with pytest.raises(ValueError, match=r"unexpected: refine\."):
        load_weights(micro_model(refine=False), tmp_path / "last")


def test_other_shapes_are_refused_and_listed(tmp_path: Path) -> None:
    save(tmp_path / "last", micro_model())
    path = tmp_path / "last" / WEIGHTS
    weights = load_file(path)
    weights["decoder.iou_token.weight"] = torch.zeros(1, 7)
    save_file(weights, path)
    assert "decoder.iou_token.weight" in own_weights(micro_model())
    with pytest.raises(
        ValueError, match=r"1 of another shape: decoder\.iou_token\.weight \(1, 7\) instead of \(1, 64\)"
    ):
        load_weights(micro_model(), tmp_path / "last")


@pytest.mark.parametrize("keep", [0, 5, 1000], ids=["empty", "no header", "cut off"])
def test_a_damaged_file_is_refused(tmp_path: Path, keep: int) -> None:
    save(tmp_path / "last", micro_model())
    path = tmp_path / "last" / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or not a safetensors file"):
        load_weights(micro_model(), tmp_path / "last")


def test_a_pickle_called_safetensors_is_not_executed(tmp_path: Path) -> None:
    save(tmp_path / "last", micro_model())
    torch.save(Canary(tmp_path / "canary"), tmp_path / "last" / WEIGHTS)
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        load_weights(micro_model(), tmp_path / "last")
    assert not (tmp_path / "canary").exists()


def test_no_pickle_in_training_state_is_executed(tmp_path: Path) -> None:
    save(tmp_path / "last", micro_model())
    torch.save({"progress": Canary(tmp_path / "canary")}, tmp_path / "last" / TRAINING)
    with pytest.raises(ValueError, match=r"cannot resume from .*training\.pt"):
        load_training(tmp_path / "last")
    assert not (tmp_path / "canary").exists()
    torch.load(tmp_path / "last" / TRAINING, weights_only=False)  # the canary does sing where pickles are trusted
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "content", [b"", b"no pickle", None, {"progress": 1}], ids=["empty", "text", "absent", "other"]
)
def test_a_damaged_training_state_is_refused(tmp_path: Path, content: Any) -> None:
    save(tmp_path / "last", micro_model())
    path = tmp_path / "last" / TRAINING
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"cannot resume from .*training\.pt"):
        load_training(tmp_path / "last")


def test_a_run_or_a_checkpoint_is_found(tmp_path: Path) -> None:
    for name in ("last", "best"):
        save(tmp_path / "run" / "checkpoints" / name, micro_model())
    last, best = (tmp_path / "run" / "checkpoints" / name for name in ("last", "best"))
    assert find_checkpoint(tmp_path / "run") == last
    assert find_checkpoint(last) == last
    assert find_checkpoint(best) == best
    for nowhere in (tmp_path, tmp_path / "nowhere", tmp_path / "run" / "checkpoints", best / WEIGHTS):
        with pytest.raises(FileNotFoundError, match=rf"no checkpoint at {nowhere}: ckpt= takes a run's folder"):
            find_checkpoint(nowhere)


@pytest.mark.parametrize("step", ["save_file", "torch.save"])
def test_a_failure_while_saving_leaves_the_former_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    former = micro_model()
    save(tmp_path / "last", former)

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError("No space left on device")

    later = micro_model()
    with monkeypatch.context() as patch:
        if step == "save_file":
            patch.setattr(checkpoint, "save_file", full)
        else:
            patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path / "last", later)
    loaded = micro_model()
    load_weights(loaded, tmp_path / "last")
    assert equal(loaded, former)
    assert load_training(tmp_path / "last")["progress"]["epoch"] == 2
    save(tmp_path / "last", later)  # what was left half written is no obstacle
    load_weights(loaded, tmp_path / "last")
    assert equal(loaded, later)
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_killed_between_its_two_renames_a_checkpoint_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one moment without a folder of that name: evaluation reads it where it is, resuming puts it back."""
    former, last = micro_model(), tmp_path / "run" / "checkpoints" / "last"
    save(last, former)
    rename, calls = Path.rename, []

    def killed(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            save(last, micro_model())
    assert not last.exists()
    for put in (lambda: None, lambda: put_back(last)):
        put()
        loaded = micro_model()
        load_weights(loaded, find_checkpoint(tmp_path / "run"))
        assert equal(loaded, former)
    assert last.is_dir()


def test_putting_back_leaves_a_whole_checkpoint_alone(tmp_path: Path) -> None:
    model = micro_model()
    save(tmp_path / "last", model)
    save(tmp_path / ".last.old", micro_model())
    put_back(tmp_path / "last")
    loaded = micro_model()
    load_weights(loaded, tmp_path / "last")
    assert equal(loaded, model)
    put_back(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_random_generators_go_on_where_they_were() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    np.random.randn()  # leaves a cached second value behind, which is part of the state
    random.gauss(0, 1)
    state = rng_state()
    first = [draw() for _ in range(3)]
    gauss = random.gauss(0, 1), float(np.random.randn())
    set_rng_state(state)
    assert [draw() for _ in range(3)] == first
    assert (random.gauss(0, 1), float(np.random.randn())) == gauss


def test_random_state_survives_the_file(tmp_path: Path) -> None:
    save(tmp_path / "last", micro_model(), rng=rng_state())
    first = torch.rand(3)
    set_rng_state(load_training(tmp_path / "last")["rng"])
    assert torch.equal(torch.rand(3), first)
