"""A training starts from the weights of another model: to the bit, or with an error that lists what does not fit."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from support.builders import micro_backbone, randomise, save_official_format
from support.run_folders import CONFIGS
from support.training import same

import ipsam
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.inference.sharing import save_pretrained
from ipsam.engine.runs.checkpoint import save_checkpoint
from ipsam.engine.runs.configuration import build_model, compose_experiment
from ipsam.engine.runs.initial_weights import section_to_build, start_from
from ipsam.model import Segmenter
from ipsam.utils.weights import sha256_of

LORA = "{_target_: ipsam.model.LoRA, rank: 2, alpha: 3}"


def training(source: object, *overrides: str) -> tuple[DictConfig, Segmenter]:
    """A new training of the quickstart's model at 64 px that is to start from some weights, and its model."""
    config = compose_experiment(CONFIGS, "quickstart", ["data.image_size=64", *overrides])
    config.init = str(source)
    return config, build_model(config.model)


def save(folder: Path, *overrides: str) -> tuple[Path, Segmenter]:
    """The checkpoint of a finished training, and its model."""
    config, model = training("", *overrides)
    with torch.no_grad():
        for parameter in filter(lambda one: one.requires_grad, model.parameters()):
            parameter.normal_(std=0.15)
    resolved = OmegaConf.to_yaml(config, resolve=True)
    save_checkpoint(folder, model, config=resolved, training={"optimizer": {}, "rng": [], "progress": {"step": 3}})
    return folder, model


@pytest.mark.parametrize("kind", ["checkpoint", "run", "shared", "bundled"])
def test_untrained_steps_predict_as_before(checkpoint: Path, picture: np.ndarray, tmp_path: Path, kind: str) -> None:
    source: object = checkpoint if kind == "checkpoint" else checkpoint.parents[1]
    if kind == "shared":
        source = save_pretrained(checkpoint, tmp_path / "shared", half=True)
    config, model = training("micro", "data.image_size=160") if kind == "bundled" else training(source)
    before = ipsam.load(config.init, device="cpu")
    record = start_from(config, model)
    size = {"image_size": config.data.image_size, "letterbox": config.data.letterbox}
    now = Predictor(model, **size, device="cpu").predict(picture)
    assert np.array_equal(now.prob, before.predict(picture).prob)
    assert before.source is not None
    weights = before.source / "model.safetensors"
    assert record is not None
    assert (record["source"], record["sha256"]) == (config.init, sha256_of(weights))
    assert record["model"]["trained_on"] == ["synthetic"]


def test_lora_on_pretrained_weights_is_restored(tmp_path: Path, micro_checkpoint: Path) -> None:
    given = (f"model.backbone.checkpoint={micro_checkpoint}", f"+model.backbone.lora={LORA}")
    given += ("model.backbone.fine_tune=false",)
    folder, model = save(tmp_path / "lora", *given)
    config, fresh = training(folder, *given)
    assert not same(fresh.state_dict(), model.state_dict())
    record = start_from(config, fresh)
    assert same(fresh.state_dict(), model.state_dict())
    assert record is not None
    assert record["base_sha256"] == sha256_of(micro_checkpoint)


def test_other_pretrained_weights_are_refused(tmp_path: Path, micro_checkpoint: Path) -> None:
    backbone = micro_backbone()
    randomise(backbone)
    other = save_official_format(tmp_path / "other.pt", backbone)
    without, based = "model.backbone.checkpoint=null", f"model.backbone.checkpoint={micro_checkpoint}"
    whole, own = save(tmp_path / "whole", without)[0], save(tmp_path / "own", based)[0]
    for source, given, message in (
        (
            own,
            f"model.backbone.checkpoint={other}",
            f"of sha256 {sha256_of(micro_checkpoint)}, but this run's model has",
        ),
        (own, without, "but this run's model has none: name the same file with model.backbone.checkpoint="),
        (whole, based, "holds all weights of its model.*set model.backbone.checkpoint=null"),
    ):
        for strict in ("true", "false"):
            config, model = training(source, given, f"init_strict={strict}")
            before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            with pytest.raises(ValueError, match=rf"init={source}.*{message}"):
                start_from(config, model)
            assert same(model.state_dict(), before)


def test_difference_is_listed_key_by_key(tmp_path: Path, checkpoint: Path) -> None:
    config, model = training(checkpoint, "model.refine.bottleneck=24", "model.lateral=null")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"model\.safetensors does not fit this run's model\n") as error:
        start_from(config, model)
    for words in (
        *("unexpected: lateral.", "of another shape: refine.", "(16, ", "instead of (24, ", "init_strict=false"),
        *("Its model has model.lateral.", "model.refine.bottleneck 16 (24 here)"),
    ):
        assert words in str(error.value)
    assert same(model.state_dict(), before)


def test_only_weights_that_fit_are_taken_on_request(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    without = ("model.refine.bottleneck=24", "init_strict=false")
    config, model = training(checkpoint, *without)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with caplog.at_level(logging.INFO):
        record = start_from(config, model)
    theirs = ipsam.load(checkpoint, device="cpu", fast=False).model.state_dict()
    assert record is not None
    left_out = set(record["left_out"])
    assert left_out
    assert all(name.startswith("refine.") for name in left_out)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name] if name in left_out else theirs[name])
        assert (f"init: {name} is of another shape" in caplog.text) == (name in left_out)
    assert f"initialised {len(before) - len(left_out)} of {len(before)} tensors from {checkpoint}" in caplog.text


def test_resumed_run_does_not_read_init(tmp_path: Path, checkpoint: Path) -> None:
    source = shutil.copytree(checkpoint, tmp_path / "source")
    config, model = training(source, "resume=true", f"run_dir={tmp_path / 'run'}")
    assert start_from(config, model) is not None  # a run without a checkpoint starts from the beginning
    shutil.copytree(checkpoint, tmp_path / "run" / "checkpoints" / "step_00000010")
    shutil.rmtree(source)
    assert start_from(config, model) is None


def test_damaged_or_missing_source_is_named(tmp_path: Path, checkpoint: Path) -> None:
    config, model = training(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"no model at .*none: give the folder of a run"):
        start_from(config, model)
    source = shutil.copytree(checkpoint, tmp_path / "source")
    (source / "model.safetensors").write_bytes(b"cut off")
    config.init = str(source)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged: its checksum differs"):
        start_from(config, model)


def test_weights_that_init_replaces_are_not_read() -> None:
    """A trunk's ImageNet weights are needed without ``init``, or where ``init`` may leave some of them out."""
    for given, is_read in ([], True), (["init=lite"], False), (["init=lite", "init_strict=false"], True):
        config = compose_experiment(CONFIGS, "lite", given)
        before = config.model.backbone.pretrained
        assert before is not None
        assert section_to_build(config).backbone.pretrained == (before if is_read else None)
        assert config.model.backbone.pretrained == before
