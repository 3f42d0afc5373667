"""Experiments of ``experiment/blank`` and native recipes: each changes exactly what its header says, and trains."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from support.experiments import CONFIGS, FILES, FOLDER, composed, leaves, tiny
from support.quick import only

from ipsam.data import Data
from ipsam.engine.runs.configuration import SECTIONS, build_model, settings_of
from ipsam.engine.runs.settings import Settings
from ipsam.engine.train.trainer import train
from ipsam.model.baselines import SAM2
from ipsam.tools.tables.changes import base_of, yaml_names
from ipsam.utils.rng import seed_everything

BLANKS = [name for name in yaml_names(FOLDER) if name.startswith("blank/")]
NATIVE = {name: name.removesuffix("_native") for name in FILES if name.endswith("_native")}
QUICK = ("blank/size_512", "blank/terms_dice", "blank/random_tiny", "blank/clip_none", "baseline/mdsam_native")
CHANGE = re.compile(r"^# (\S+)=(.+) instead of (.+)$", re.MULTILINE)


def settings(name: str) -> dict[str, Any]:
    resolved = OmegaConf.to_container(composed(name), resolve=True)
    assert isinstance(resolved, dict)
    return leaves({section: resolved[section] for section in SECTIONS})


def read(text: str) -> Any:
    """Read a value of a header as Hydra reads it: 5e-5 is a number."""
    return OmegaConf.create(f"value: {text}").value


@pytest.mark.parametrize("name", only(QUICK, [*BLANKS, *NATIVE]))
def test_header_names_exactly_what_changes(name: str) -> None:
    first, second, *comments = (
        line for line in (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines() if line.startswith("#")
    )
    assert first == "# @package _global_"
    title = r".+:" if name in NATIVE else r"Blank: .+\."
    assert re.fullmatch(rf"# {title} ipsam train experiment={name}", second)
    named = {key: (read(new), read(old)) for key, new, old in CHANGE.findall("\n".join(comments))}
    assert sum(" instead of " in line and "=" in line for line in comments) == len(named) > 0
    ours, base = settings(name), settings(NATIVE.get(name, "cod_r32"))
    changed = {key: (ours.get(key), base.get(key)) for key in ours | base if ours.get(key) != base.get(key)}
    assert changed == named
    assert ours.keys() == base.keys()
    assert composed(name).paper == []
    assert base_of(name) == (None if name in NATIVE else "cod_r32")
    settings_of(Settings, composed(name).engine, "engine")
    settings_of(Data, composed(name).data, "data")


@pytest.mark.slow
def test_no_two_blanks_are_the_same() -> None:
    found = [settings(name) for name in BLANKS]
    assert all(one != other for index, one in enumerate(found) for other in found[:index])


@pytest.mark.parametrize("name", only(("blank/mask_first",), BLANKS))
def test_blank_trains_two_steps_at_micro_size(name: str, tmp_path: Path) -> None:
    small = ["data=synthetic", "data.image_size=64", "data.synthetic.num_train=2", "engine.epochs=1"]
    config = tiny(name, *small, "engine.batch_size=1", "engine.num_workers=0", "engine.cpu=true")
    if weights := composed(name).model.get("decoder_weights"):
        config.model.decoder_weights, config.model.backbone.checkpoint = weights, str(tmp_path / "micro.pt")
        config.model.decoder.mlp_dim = 2048  # SAM2's own
        torch.save({"model": SAM2("micro", image_size=64).model.state_dict()}, tmp_path / "micro.pt")
    engine = settings_of(Settings, config.engine, "engine")
    data = settings_of(Data, config.data, "data")
    seed_everything(0)
    model = build_model(config.model)
    before = {key: value.clone() for key, value in model.named_parameters() if value.requires_grad}
    progress = train(
        model, data.train_and_val(seed=0)[0], settings=engine, folder=tmp_path, config="model: {}\n", seed=0
    )
    assert progress is not None
    assert (progress.step, progress.skipped) == (2, 0)
    assert any(not value.equal(before[key]) for key, value in model.named_parameters() if value.requires_grad)


def test_readme_lists_every_blank() -> None:
    listed = re.findall(
        r"[\w.-]+", " ".join(re.findall(r"`([^`]+)`", (CONFIGS / "README.md").read_text(encoding="utf-8")))
    )
    assert {name.removeprefix("blank/") for name in BLANKS} <= set(listed)
