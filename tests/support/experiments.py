"""The files of configs/experiment, and how tests compose them: at tiny size, with LoRA on a trunk of random weights."""

from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from ipsam.engine.runs.configuration import compose_experiment, drop_checkpoints
from ipsam.tools.paper.printed import Reference, references

CONFIGS = Path(__file__).parents[2] / "configs"
FOLDER = CONFIGS / "experiment"
FILES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
MICRO = {
    "data.image_size": 64,
    "model.backbone.variant": "micro",
    "model.backbone.adapter.scale_factor": 8,
    "model.decoder.dim": 64,
    "model.decoder.num_heads": 4,
    "model.decoder.mlp_dim": 64,
    "model.detector.size": "n",
    "model.detector.image_size": 64,
}


def tiny(name: str, *overrides: str) -> DictConfig:
    """An experiment with random weights at micro size; a baseline without some of these keys keeps being without."""
    config = compose_experiment(CONFIGS, name, overrides)
    drop_checkpoints(config.model)
    for key, value in MICRO.items():
        if OmegaConf.select(config, key) is not None:
            OmegaConf.update(config, key, value)
    return config


def rows_of(name: str) -> tuple[Reference, ...]:
    """The rows of the paper that an experiment's file names."""
    return references(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")).get("paper"))
