"""The files of configs/experiment, and how tests compose them: at tiny size, with LoRA on a trunk of random weights."""

from pathlib import Path

import yaml
from omegaconf import DictConfig

from ipsam.engine.config import compose_experiment
from ipsam.engine.paper.printed import Reference, references

CONFIGS = Path(__file__).parents[2] / "configs"
FOLDER = CONFIGS / "experiment"
FILES = sorted(path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))
TINY = [
    "data.image_size=64",
    "model.backbone.variant=micro",
    "model.backbone.checkpoint=null",
    "model.decoder.dim=64",
    "model.decoder.num_heads=4",
    "model.decoder.mlp_dim=64",
]


def tiny(name: str, *overrides: str) -> DictConfig:
    return compose_experiment(CONFIGS, name, [*TINY, *overrides])


def rows_of(name: str) -> tuple[Reference, ...]:
    """The rows of the paper that an experiment's file names."""
    return references(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")).get("paper"))
