import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ipsam.data import Data
from ipsam.engine.runs.configuration import as_dict, build_model, compose_experiment, read_config, settings_of
from ipsam.engine.runs.model_section import TARGETS
from ipsam.engine.runs.settings import Settings
from ipsam.model import IPSAM

CONFIGS = Path(__file__).parents[3] / "configs"


def model_config(*overrides: str) -> Any:
    """The quickstart's model at 64 px."""
    return compose_experiment(CONFIGS, "quickstart", ["data.image_size=64", *overrides]).model


def test_builds_the_model() -> None:
    model = build_model(model_config())
    assert isinstance(model, IPSAM)
    assert model.backbone.image_size == 64


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "builtins.exec",
        "subprocess.run",
        "torch.load",
        "torch.hub.load",
        "ipsam.model.backbone.torch.load",
        "ipsam.model.backbone.torch.hub.load",
        "ipsam.model.sam2_checkpoints.pickle.loads",
        "ipsam.engine.runs.run_folder.subprocess.run",
        "ipsam.model",
        "ipsam.model.IPSAM.__init__.__globals__",
        "hydra.utils.instantiate",
        "hydra.utils.get_method",
    ],
)
@pytest.mark.parametrize("place", ["model", "model.decoder", "model.backbone.lora", "model.extra", "model.list"])
def test_other_targets_are_refused_and_nothing_runs(tmp_path: Path, target: str, place: str) -> None:
    config = OmegaConf.create({"model": OmegaConf.to_container(model_config(), resolve=True)})
    call = {"_target_": target, "_args_": [f"touch {tmp_path / 'canary'}"]}
    if place == "model.list":
        OmegaConf.update(config, "model.extra", [1, [call]])
    else:
        OmegaConf.update(config, place, call, merge=False)
    with pytest.raises(ValueError, match=rf"model.*_target_ is '{target}'; allowed are ipsam\.model\."):
        build_model(config.model)
    assert not (tmp_path / "canary").exists()


def test_a_target_hidden_in_an_interpolation_is_seen(tmp_path: Path) -> None:
    config = OmegaConf.create(
        {"model": {"_target_": "${name}", "_args_": [f"touch {tmp_path / 'canary'}"]}, "name": "os.system"}
    )
    with pytest.raises(ValueError, match=r"_target_ is 'os\.system'"):
        build_model(config.model)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("target", [7, ["os.system"], {"a": 1}, ""], ids=str)
def test_a_target_that_is_no_name_is_refused(target: Any) -> None:
    with pytest.raises(ValueError, match="_target_"):
        build_model(OmegaConf.create({"_target_": target}))


def test_allowed_are_the_public_classes_of_the_model() -> None:
    assert {"ipsam.model.IPSAM", "ipsam.model.LoRA", "ipsam.model.SAM2Backbone"} <= TARGETS.keys()
    assert "ipsam.model.baselines.SAM2" in TARGETS
    assert all(re.fullmatch(r"ipsam\.model\.(baselines\.)?[A-Za-z0-9]+", target) for target in TARGETS)


@pytest.mark.parametrize("config", [{}, {"a": 1}, {"_target_": "ipsam.model.LoRA"}], ids=str)
def test_what_is_no_model_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"model\._target_ must be a whole model, such as ipsam\.model\.IPSAM"):
        build_model(OmegaConf.create(config))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.backbone.lora={_target_: ipsam.model.LoRA, rank: 0}"], r"^model\.backbone\.lora: .*rank.* not 0"),
        (["model.backbone.variant=huge"], r"^model\.backbone: variant must be one of .* not 'huge'"),
        (["data.image_size=100"], r"^model\.backbone: image_size must be a positive multiple of 32 pixels, not 100"),
        (["model.backbone.lora={_target_: ipsam.model.LoRA}"], r"^model\.backbone: fine_tune .*lora=None"),
        (["model.mask_reduction=max"], r"^model: mask_reduction must be one of mean, first, not 'max'"),
        (["model.self_prompt=null"], r"^model: with self_prompt=None .* set gating=None"),
        (["model.self_prompt=null", "model.gating=null"], r"^model: .*own_mask_tokens=True"),
        (["+model.backbone.colour=red"], r"^model\.backbone: .*colour"),
        (["+model.colour=red"], r"^model: .*colour"),
        (["model.decoder=null"], r"model\.decoder"),
    ],
    ids=str,
)
def test_a_constructors_complaint_names_the_key(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(model_config(*overrides))


def test_a_complaint_names_the_key_of_a_section_by_itself_too() -> None:
    config = OmegaConf.create(OmegaConf.to_container(model_config(), resolve=True))
    config.backbone.variant = "huge"
    with pytest.raises(ValueError, match=r"^model\.backbone: variant"):
        build_model(config)
    config = OmegaConf.create(OmegaConf.to_container(model_config(), resolve=True))
    config.mask_reduction = "max"
    with pytest.raises(ValueError, match=r"^model: mask_reduction"):
        build_model(config)


def test_a_missing_checkpoint_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"^model\.backbone: no SAM2 checkpoint at {tmp_path}/none\.pt"):
        build_model(model_config(f"model.backbone.checkpoint={tmp_path}/none.pt"))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


GOOD = "model: {a: 1}\ndata: {b: [1, two, null]}\nengine: {lr: 1.0e-06}\n"


def test_a_saved_configuration_is_read(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, GOOD))
    assert config == {"model": {"a": 1}, "data": {"b": [1, "two", None]}, "engine": {"lr": 1e-6}}


def test_what_a_run_saves_can_be_read(tmp_path: Path) -> None:
    composed = compose_experiment(CONFIGS, "cod_r32", ["resume=false"])
    config = read_config(write(tmp_path, OmegaConf.to_yaml(composed, resolve=True)))
    assert config == OmegaConf.to_container(composed, resolve=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.system ['touch {canary}']", "not a plain YAML configuration"),
        (GOOD + "extra: !!python/object/apply:os.system ['touch {canary}']", "not a plain YAML configuration"),
        (GOOD + "extra: !!python/name:os.system", "not a plain YAML configuration"),
        (GOOD + "extra: !!python/object/new:subprocess.Popen [[touch, '{canary}']]", "not a plain YAML configuration"),
        (GOOD + "extra: [", "not a plain YAML configuration"),
        (GOOD + "extra: ${oc.env:HOME}", "holds interpolations"),
        (GOOD + "extra: {deep: [1, '${oc.decode:x}']}", "holds interpolations"),
        (GOOD + "'${oc.env:HOME}': 1", "holds interpolations"),
        ("model: {a: 1}\ndata: {b: 1}\n", "must hold model, data, engine"),
        ("[model, data, engine]", "must hold model, data, engine"),
        ("", "must hold model, data, engine"),
        ("model: 1\ndata: {b: 1}\nengine: {c: 1}", "must hold model, data, engine"),
    ],
)
def test_anything_but_plain_data_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text.replace("{canary}", str(tmp_path / "canary")))
    with pytest.raises(ValueError, match=message):
        read_config(path)
    assert not (tmp_path / "canary").exists()


def test_binary_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00model")
    with pytest.raises(ValueError, match="not a plain YAML configuration"):
        read_config(path)
    with pytest.raises(FileNotFoundError, match=r"no configuration at .*none: is this the folder of a run"):
        read_config(tmp_path / "none")


def test_a_section_keeps_the_defaults_of_what_it_leaves_out() -> None:
    settings = settings_of(Settings, OmegaConf.create({"epochs": 3, "loss": {"fg": 0.5}}), "engine")
    written: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / "engine" / "default.yaml"))
    assert settings.model_dump() == written | {"epochs": 3, "loss": written["loss"] | {"fg": 0.5}}


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"exclude": [None]}, r"data\.exclude must be a list of stems, \[STEM, \.\.\.\], not \[None\]"),
        ({"exclude": 5}, r"data\.exclude must be a list of stems.*, not 5"),
        ({"exclude": "a"}, r"data\.exclude must be a list of stems.*, not 'a'; write exclude=\[a\]"),
        ({"test": [["CAMO"]]}, r"data\.test must be a list of sets.*, not \[\['CAMO'\]\]"),
        ({"test": "CAMO"}, r"data\.test must be a list of sets.*, not 'CAMO'; write test=\[CAMO\]"),
        ({"root": 5}, r"data\.root must be a path, not 5"),
        ({"image_size": "64"}, r"data\.image_size must be a whole number of pixels from 1 to 4,096, not '64'"),
        ({"cache": 5}, r"data\.cache must be a path, not 5"),
        ({"cache": ""}, r"data\.cache must be a path, not ''"),
        ({"scaled_decode": "yes"}, r"data\.scaled_decode must be true or false, not 'yes'"),
        ({"size_mismatch": "crop"}, r"data\.size_mismatch must be error, resize, exclude or null, not 'crop'"),
        (
            {"synthetic": {"num_test": "4"}},
            r"data\.synthetic\.num_test must be a whole number from 1 to 1,000,000, not '4'",
        ),
        ({"synthetic": {"num_trains": 4}}, r"data\.synthetic\.num_trains: .*did you mean data\.synthetic\.num_train\?"),
        ({"synthetic": [1]}, r"data\.synthetic must be a section of keys, not \[1\]"),
        ({"augment": {"hflip": 2}}, r"data\.augment\.hflip must be a number from 0 to 1, not 2"),
        (
            {"val": ["a"], "val_fraction": 0.1, "train": ["b"]},
            r"data: val and val_fraction exclude each other: set one",
        ),
    ],
    ids=str,
)
def test_a_wrong_value_of_the_data_is_named(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        settings_of(Data, OmegaConf.create({"image_size": 64, "root": "."} | section), "data")


def test_as_dict_is_plain_and_resolved() -> None:
    config = OmegaConf.create({"a": {"b": "${c}", "d": [1, "${c}"]}, "c": 5})
    assert as_dict(config) == {"a": {"b": 5, "d": [1, 5]}, "c": 5}
