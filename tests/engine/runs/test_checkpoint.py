"""Checkpoints: bit-exact, complete, refused when damaged or of another model, and never executed."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.builders import micro_backbone, micro_model, randomise, save_official_format
from support.hostile_states import Payload
from support.saved import unreadable

from ipsam.engine.runs import checkpoint
from ipsam.engine.runs.checkpoint import (
    CONFIG,
    INFO,
    TRAINING,
    WEIGHTS,
    damage,
    finished_epochs,
    load_training,
    load_weights,
    own_weights,
    save_checkpoint,
)
from ipsam.model import IPSAM, LoRA
from ipsam.utils.rng import rng_state, set_rng_state

FILES = [WEIGHTS, CONFIG, TRAINING, INFO]
STATE: dict[str, Any] = {
    "optimizer": {"state": {0: torch.arange(3.0)}},
    "rng": rng_state(),
    "progress": {"epoch": 2, "best": None},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "last"


def save(folder: Path, model: IPSAM, **training: Any) -> Path:
    save_checkpoint(folder, model, config="model: {}\n", training=STATE | training)
    return folder


def is_equal(one: IPSAM, other: IPSAM) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


@pytest.mark.parametrize("parts", [{}, {"self_prompt": False}, {"lora": LoRA(rank=2)}], ids=str)
def test_round_trip_is_bit_exact(folder: Path, parts: dict[str, Any]) -> None:
    model, other = micro_model(**parts), micro_model(**parts)
    randomise(model)
    save(folder, model)
    assert not is_equal(model, other)
    load_weights(other, folder)
    assert is_equal(model, other)
    assert (folder / CONFIG).read_text() == "model: {}\n"
    state = load_training(folder)
    assert state["progress"] == STATE["progress"]
    assert torch.equal(state["optimizer"]["state"][0], torch.arange(3.0))
    assert [path.name for path in folder.parent.iterdir()] == ["last"]
    (folder / TRAINING).unlink()
    load_weights(other, folder)  # evaluation needs no training state


def test_without_a_base_file_all_weights_are_saved(folder: Path) -> None:
    model = micro_model(lora=LoRA(rank=2))
    assert load_file(save(folder, model) / WEIGHTS).keys() == model.state_dict().keys()


@pytest.mark.parametrize("options", [{"lora": LoRA(rank=2)}, {"fine_tune": True}], ids=["lora", "fine-tuned"])
def test_with_a_base_file_only_trained_weights_are_saved(
    folder: Path, micro_checkpoint: Path, options: dict[str, Any]
) -> None:
    model, other = (micro_model(checkpoint=micro_checkpoint, **options) for _ in range(2))
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    for parameter in trained.values():
        parameter.data.normal_()
    assert load_file(save(folder, model) / WEIGHTS).keys() == trained.keys()
    assert not any("prompt_encoder" in name for name in trained)
    load_weights(other, folder)
    assert is_equal(model, other)


def test_another_base_file_is_refused(folder: Path, tmp_path: Path, micro_checkpoint: Path) -> None:
    model = micro_model(checkpoint=micro_checkpoint, lora=LoRA(rank=2))
    save(folder, model)
    torch.manual_seed(1)
    second = save_official_format(tmp_path / "second.pt", micro_backbone())
    other = micro_model(checkpoint=second, lora=LoRA(rank=2))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match=rf"sha256 {model.backbone.base_sha256}.*{other.backbone.base_sha256}.*base="):
        load_weights(other, folder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())
    with pytest.raises(ValueError, match="missing: backbone"):
        load_weights(micro_model(lora=LoRA(rank=2)), folder)


def test_other_keys_and_shapes_are_listed(folder: Path) -> None:
    save(folder, micro_model(refine=False))
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit .*\n +\d+ missing: refine\."):
        load_weights(micro_model(), folder)
    save(folder, micro_model())
    with pytest.raises(ValueError, match=r"unexpected: refine\."):
        load_weights(micro_model(refine=False), folder)
    assert "decoder.iou_token.weight" in own_weights(micro_model())
    save_file(load_file(folder / WEIGHTS) | {"decoder.iou_token.weight": torch.zeros(1, 7)}, folder / WEIGHTS)
    (folder / INFO).unlink()
    with pytest.raises(ValueError, match=r"1 of another shape: decoder\.iou_token\.weight \(1, 7\) instead of"):
        load_weights(micro_model(), folder)


@pytest.mark.parametrize("keep", [0, 5, 1000], ids=["empty", "no header", "cut off"])
def test_damaged_weights_are_refused(folder: Path, keep: int) -> None:
    path = save(folder, micro_model()) / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"last: model\.safetensors is damaged: .*; name another"):
        load_weights(micro_model(), folder)
    (folder / INFO).unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or not a safetensors file"):
        load_weights(micro_model(), folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["bit", "cut", "gone"])
def test_any_damage_is_found(folder: Path, name: str, how: str) -> None:
    path = save(folder, micro_model(self_prompt=False)) / name
    assert damage(folder) is None
    content = path.read_bytes()
    half = len(content) // 2
    path.unlink()
    if how != "gone":
        path.write_bytes(content[:half] + (bytes([content[half] ^ 4]) + content[half + 1 :] if how == "bit" else b""))
    assert damage(folder) is not None


@pytest.mark.parametrize("name", FILES)
def test_unreadable_is_not_damaged(folder: Path, name: str) -> None:
    save(folder, micro_model(self_prompt=False))
    unreadable(folder / name)
    with pytest.raises(OSError, match="Input/output error") as error:
        damage(folder)
    assert error.value.filename == str(folder / name)
    if name == INFO:
        with pytest.raises(OSError, match="Input/output error"):
            finished_epochs(folder)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EMFILE, errno.ESTALE])
def test_refused_is_not_damaged(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> str:
        raise OSError(number, os.strerror(number))

    save(folder, micro_model(self_prompt=False))
    monkeypatch.setattr(checkpoint, "sha256_of", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        damage(folder)


def test_pickles_are_not_executed(folder: Path, tmp_path: Path) -> None:
    canary = Payload(os.system, f"touch {tmp_path / 'canary'}")
    save(folder, micro_model())
    (folder / INFO).unlink()
    torch.save(canary, folder / WEIGHTS)
    torch.save({"progress": canary}, folder / TRAINING)
    with pytest.raises(ValueError, match="damaged or not a safetensors file"):
        load_weights(micro_model(), folder)
    with pytest.raises(ValueError, match=r"cannot resume from .*training\.pt"):
        load_training(folder)
    assert not (tmp_path / "canary").exists()
    torch.load(folder / TRAINING, weights_only=False)
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", None, {"progress": 1}], ids=str)
def test_damaged_training_state_is_refused(folder: Path, content: Any) -> None:
    path = save(folder, micro_model()) / TRAINING
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"cannot resume from .*training\.pt"):
        load_training(folder)


def test_random_state_survives_the_file(folder: Path) -> None:
    save(folder, micro_model(), rng=rng_state())
    first = torch.rand(3)
    set_rng_state(load_training(folder)["rng"])
    assert torch.equal(torch.rand(3), first)
