"""Checkpoints are bit-exact and complete, refused when damaged or from another model, and never executed."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.builders import micro_backbone, micro_model, randomise, save_official_format
from support.saved import failing, unreadable

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

FILES = [WEIGHTS, CONFIG, TRAINING, INFO]
STATE: dict[str, Any] = {
    "optimizer": {"state": {0: torch.arange(3.0)}},
    "rng": [],
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
    load_weights(other, folder)
    assert is_equal(model, other)


def test_damaged_weights_are_refused(folder: Path) -> None:
    path = save(folder, micro_model()) / WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"last: model\.safetensors is damaged: .*; name another"):
        load_weights(micro_model(), folder)
    (folder / INFO).unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or not a safetensors file"):
        load_weights(micro_model(), folder)


@pytest.mark.parametrize("content", [b"", b"no pickle", None], ids=str)
def test_damaged_training_state_is_refused(folder: Path, content: bytes | None) -> None:
    path = save(folder, micro_model()) / TRAINING
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot resume from .*training\.pt"):
        load_training(folder)


@pytest.mark.parametrize("name", FILES)
def test_unreadable_is_not_damaged(folder: Path, name: str) -> None:
    save(folder, micro_model(self_prompt=False))
    unreadable(folder / name)
    for read in (damage, finished_epochs) if name == INFO else (damage,):
        with pytest.raises(OSError, match="Input/output error") as error:
            read(folder)
        assert error.value.filename == str(folder / name)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ESTALE])
def test_refused_is_not_damaged(folder: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    save(folder, micro_model(self_prompt=False))
    monkeypatch.setattr(checkpoint, "sha256_of", failing(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        damage(folder)
