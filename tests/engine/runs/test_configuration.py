"""From configurations to models and back: constructors' complaints name their key, and only plain data is read."""

import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from support.experiments import CONFIGS, changeable
from support.quick import every

from ipsam.data import Data
from ipsam.engine.runs import plugins
from ipsam.engine.runs.configuration import as_dict, build_model, compose_experiment, read_config, settings_of
from ipsam.engine.runs.model_section import TARGETS
from ipsam.engine.runs.settings import Settings
from ipsam.model import IPSAM
from ipsam.utils.worker_pool import num_cpus

GOOD = "model: {a: 1}\ndata: {b: [1, two, null]}\nengine: {lr: 1.0e-06}\n"


def model_config(*overrides: str) -> Any:
    """The quickstart's model at 64 px."""
    return changeable("quickstart", "data.image_size=64", *overrides).model


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_builds_the_model() -> None:
    model = build_model(model_config())
    assert isinstance(model, IPSAM)
    assert model.backbone.image_size == 64


@pytest.mark.parametrize(
    "target",
    [
        *(
            "os.system",
            "builtins.eval",
            "torch.hub.load",
            "hydra.utils.instantiate",
            "ipsam.model",
            7,
            ["os.system"],
            "",
        ),
        *("ipsam.model.backbones.sam2.torch.load", "ipsam.engine.runs.run_folder.subprocess.run"),
        *("ipsam.model.IPSAM.__init__.__globals__", "${name}"),
    ],
    ids=str,
)
@pytest.mark.parametrize("key", every(3, ["", "decoder", "backbone.lora", "extra"]))
def test_other_targets_are_refused_and_nothing_runs(tmp_path: Path, target: Any, key: str) -> None:
    """Also those in a list or behind an interpolation; the fuzz tests put more of them in more places."""
    config = OmegaConf.create({"model": OmegaConf.to_container(model_config(), resolve=True), "name": "os.system"})
    call = {"_target_": target, "_args_": [f"touch {tmp_path / 'canary'}"]}
    OmegaConf.update(config, f"model.{key}".rstrip("."), [1, [call]] if key == "extra" else call, merge=False)
    shown = re.escape(repr("os.system" if target == "${name}" else target))
    with pytest.raises(ValueError, match=rf"model.*_target_ is {shown}; allowed are ipsam\.model\."):
        build_model(config.model)
    assert not (tmp_path / "canary").exists()


def test_allowed_are_the_public_classes_of_the_model() -> None:
    assert {"ipsam.model.IPSAM", "ipsam.model.LoRA", "ipsam.model.baselines.SAM2"} <= TARGETS.keys()
    assert all(re.fullmatch(r"ipsam\.model\.(baselines\.)?[A-Za-z0-9]+", target) for target in TARGETS)


@pytest.mark.parametrize("config", [{}, {"a": 1}, {"_target_": "ipsam.model.LoRA"}], ids=str)
def test_what_is_no_model_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"model\._target_ must be a whole model, such as ipsam\.model\.IPSAM"):
        build_model(OmegaConf.create(config))


@pytest.mark.parametrize("alone", [False, True], ids=["in its parent", "alone"])
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.backbone.lora={_target_: ipsam.model.LoRA, rank: 0}"], r"^model\.backbone\.lora: .*rank.* not 0"),
        (["model.backbone.variant=huge"], r"^model\.backbone: variant must be one of .* not 'huge'"),
        (["data.image_size=100"], r"^model\.backbone: image_size must be a positive multiple of 32 pixels, not 100"),
        (["model.mask_reduction=max"], r"^model: mask_reduction must be one of mean, first, not 'max'"),
        (["model.self_prompt=null", "model.gating=null"], r"^model: .*own_mask_tokens=True"),
        (["+model.backbone.colour=red"], r"^model\.backbone: .*colour"),
        (["+model.colour=red"], r"^model: .*colour"),
        (["model.decoder=null"], r"model\.decoder"),
        (["model.backbone.checkpoint=none.pt"], r"^model\.backbone: no SAM2 checkpoint at none\.pt"),
    ],
    ids=str,
)
def test_a_constructors_complaint_names_the_key(overrides: list[str], message: str, alone: bool) -> None:
    config = model_config(*overrides)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build_model(OmegaConf.create(OmegaConf.to_container(config, resolve=True)) if alone else config)


def test_what_a_run_saves_can_be_read(tmp_path: Path) -> None:
    composed = compose_experiment(CONFIGS, "cod_r32", ["resume=false"])
    config = read_config(write(tmp_path, OmegaConf.to_yaml(composed, resolve=True)))
    assert config == OmegaConf.to_container(composed, resolve=True)
    assert read_config(write(tmp_path, GOOD)).data.b == [1, "two", None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "extra: !!python/name:os.system", "not a plain YAML configuration"),
        (GOOD + "extra: [", "not a plain YAML configuration"),
        ("\xff\xfe\0", "not a plain YAML configuration"),
        (GOOD + "extra: {deep: [1, '${oc.decode:x}']}", "holds interpolations"),
        (GOOD + "'${oc.env:HOME}': 1", "holds interpolations"),
        *((text, "must hold model, data, engine") for text in ("model: {a: 1}", "[model, data]", "", GOOD + "data: 1")),
    ],
)
def test_anything_but_plain_data_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, "")
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=message):
        read_config(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no configuration at .*none: is this the folder of a run"):
        read_config(tmp_path / "none")


def test_a_section_keeps_the_defaults_of_what_it_leaves_out() -> None:
    settings = settings_of(Settings, OmegaConf.create({"epochs": 3, "loss": {"fg": 0.5}}), "engine")
    written: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / "engine" / "default.yaml"))
    changed = {"epochs": 3, "loss": written["loss"] | {"fg": 0.5}, "num_workers": min(4, num_cpus())}
    assert settings.model_dump() == written | changed


def test_a_model_without_backbone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bare_models.py").write_text("from ipsam.model import Segmenter\nclass Bare(Segmenter): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_trusted", {"bare_models"})
    with pytest.raises(ValueError, match=r"bare_models\.Bare has no backbone.*NoBackbone\(image_size\)"):
        build_model(OmegaConf.create({"_target_": "bare_models.Bare"}))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"exclude": [None]}, r"data\.exclude must be a list of stems, \[STEM, \.\.\.\], not \[None\]"),
        ({"exclude": "a"}, r"data\.exclude must be a list of stems.*, not 'a'; write exclude=\[a\]"),
        ({"test": [["CAMO"]]}, r"data\.test must be a list of sets.*, not \[\['CAMO'\]\]"),
        ({"test": "CAMO"}, r"data\.test must be a list of sets.*, not 'CAMO'; write test=\[CAMO\]"),
        ({"root": 5}, r"data\.root must be a path, not 5"),
        ({"cache": ""}, r"data\.cache must be a path, not ''"),
        ({"letterbox": 1}, r"data\.letterbox must be true or false, not 1"),
        ({"scaled_decode": "yes"}, r"data\.scaled_decode must be true or false, not 'yes'"),
        ({"size_mismatch": "crop"}, r"data\.size_mismatch must be error, resize, exclude or null, not 'crop'"),
        ({"synthetic": {"num_trains": 4}}, r"data\.synthetic\.num_trains: .*did you mean data\.synthetic\.num_train\?"),
        ({"synthetic": [1]}, r"data\.synthetic must be a section of keys, not \[1\]"),
        ({"val": ["a"], "val_fraction": 0.1}, r"data: val and val_fraction exclude each other: set one"),
    ],
    ids=str,
)
def test_a_wrong_value_of_the_data_is_named(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        settings_of(Data, {"image_size": 64, "root": ".", "train": ["b"]} | section, "data")


def test_as_dict_is_plain_and_resolved() -> None:
    config = OmegaConf.create({"a": {"b": "${c}", "d": [1, "${c}"]}, "c": 5})
    assert as_dict(config) == {"a": {"b": 5, "d": [1, 5]}, "c": 5}
