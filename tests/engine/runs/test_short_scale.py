"""``+scale=short`` shortens every experiment on camouflaged objects, and changes nothing else."""

from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from support.experiments import CONFIGS, FILES, FOLDER, composed

SHIPPED = {*FILES, *(f"blank/{path.stem}" for path in (FOLDER / "blank").glob("*.yaml"))}
COD = sorted(name for name in SHIPPED if not name.startswith("kvasir") and name not in ("quickstart", "micro"))
QUICK = {"cod_r32", "baseline/mdsam", "baseline/yolov8_sam2", "blank/size_512"}
SHORT = {"data.image_size": 512, "model.backbone.image_size": 512, "engine.epochs": 20}
EACH = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in COD]


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """List the values of a configuration by their dotted keys."""
    if not isinstance(value, dict):
        return {key: value}
    return {name: one for part in value for name, one in flat(value[part], f"{key}.{part}".lstrip(".")).items()}


def values(config: DictConfig) -> dict[str, Any]:
    return flat(OmegaConf.to_container(config, resolve=True))


@pytest.mark.parametrize("name", EACH)
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
