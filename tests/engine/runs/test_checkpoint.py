import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.builders import micro_backbone, micro_model, randomise, save_official_format
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
    (tmp_path / "last" / INFO).unlink()  # as somebody else's checkpoint might come
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
    with pytest.raises(ValueError, match=r"last: model\.safetensors is damaged: its checksum differs; name"):
        load_weights(micro_model(), tmp_path / "last")
    (tmp_path / "last" / INFO).unlink()
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or not a safetensors file"):
        load_weights(micro_model(), tmp_path / "last")


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, TRAINING, INFO])
@pytest.mark.parametrize("how", ["bit", "cut", "gone"])
def test_any_damage_is_seen(tmp_path: Path, name: str, how: str) -> None:
    """Wherever the bit is; a change of the checksums themselves is one, too."""
    save(tmp_path / "last", micro_model(self_prompt=False))
    assert damage(tmp_path / "last") is None
    path = tmp_path / "last" / name
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        position = len(content) // 2
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
    assert damage(tmp_path / "last") is not None


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, TRAINING, INFO])
def test_unreadable_is_not_damaged(tmp_path: Path, name: str) -> None:
    save(tmp_path / "last", micro_model(self_prompt=False))
    unreadable(tmp_path / "last" / name)
    with pytest.raises(OSError, match="Input/output error") as told:
        damage(tmp_path / "last")
    assert told.value.filename == str(tmp_path / "last" / name)
    if name == INFO:
        with pytest.raises(OSError, match="Input/output error"):
            finished_epochs(tmp_path / "last")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EMFILE, errno.ESTALE])
def test_refused_is_not_damaged(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "last", micro_model(self_prompt=False))

    def refuse(_: Path) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(checkpoint, "sha256_of", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        damage(tmp_path / "last")


def test_weights_without_the_rest_will_do_for_evaluation(tmp_path: Path) -> None:
    model = micro_model()
    save(tmp_path / "last", model)
    (tmp_path / "last" / TRAINING).unlink()
    other = micro_model()
    load_weights(other, tmp_path / "last")
    assert equal(model, other)


def test_a_pickle_called_safetensors_is_not_executed(tmp_path: Path) -> None:
    save(tmp_path / "last", micro_model())
    torch.save(Canary(tmp_path / "canary"), tmp_path / "last" / WEIGHTS)
    (tmp_path / "last" / INFO).unlink()
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


def test_random_state_survives_the_file(tmp_path: Path) -> None:
    save(tmp_path / "last", micro_model(), rng=rng_state())
    first = torch.rand(3)
    set_rng_state(load_training(tmp_path / "last")["rng"])
    assert torch.equal(torch.rand(3), first)
