"""``+scale=short`` shortens every experiment on camouflaged objects, and changes nothing else."""

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from support.experiments import CONFIGS, FILES, FOLDER, composed, leaves
from support.quick import only

from ipsam.tools.tables.changes import yaml_names

SHIPPED = {*FILES, *(name for name in yaml_names(FOLDER) if name.startswith("blank/"))}
COD = sorted(name for name in SHIPPED if not name.startswith("kvasir") and name not in ("quickstart", "micro"))
QUICK = {"cod_r32", "baseline/mdsam", "baseline/yolov8_sam2", "blank/size_512"}
SHORT = {"data.image_size": 512, "model.backbone.image_size": 512, "engine.epochs": 20}


def values(config: DictConfig) -> dict[str, Any]:
    return leaves(OmegaConf.to_container(config, resolve=True))


@pytest.mark.parametrize("name", only(QUICK, COD))
def test_short_scale_changes_what_its_header_says(name: str) -> None:
    before, after = values(composed(name)), values(composed(name, "+scale=short"))
    assert after.keys() == before.keys()
    changed = {key: value for key, value in after.items() if value != before[key]}
    assert changed.pop("paper", []) == []
    assert changed == {key: value for key, value in SHORT.items() if value != before[key]}


def test_short_run_has_a_folder_of_its_own() -> None:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("train", ["experiment=cod_r16", "+scale=short"])
    assert OmegaConf.to_container(config)["name"] == "short/${hydra:runtime.choices.experiment}"
