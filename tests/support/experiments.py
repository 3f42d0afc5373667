"""Experiments that the tests judge, composed as they are or at tiny size with random weights."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from ipsam.engine.runs.configuration import compose_experiment, drop_checkpoints
from ipsam.tools.tables.ledger import paper_experiments
from ipsam.tools.tables.printed import Reference, references

CONFIGS = Path(__file__).parents[2] / "configs"
FOLDER = CONFIGS / "experiment"
# Shipped experiments that name no row of the paper.
WITHOUT_ROW = (
    *(
        "quickstart",
        "micro",
        "lite",
        "kvasir_micro",
        "kvasir_lite",
        "cod_sam3_r32",
        "ablation/prompt_binarised",
        "ablation/prompt_scaled",
    ),
    *("kvasir/medsam", "kvasir/sam2_r80"),
    *(f"baseline/{system}_native" for system in ("mdsam", "medsam", "sam_adapter", "sam2_adapter")),
)
MICRO = {
    "data.image_size": 64,
    "model.backbone.variant": "micro",
    "model.backbone.name": "test_efficientnet",  # timm's smallest
    "model.backbone.adapter.scale_factor": 8,
    "model.decoder.dim": 64,
    "model.decoder.num_heads": 4,
    "model.decoder.mlp_dim": 64,
    "model.detector.size": "n",
    "model.detector.image_size": 64,
}


# Options of the model in which the paper is silent, away from their defaults.
OPTIONS = (
    *("model.gating.context=negative", "model.gating.padding_mode=replicate", "model.self_prompt.num_sparse=4"),
    *("model.backbone.no_mem_embed=true", "model.decoder.high_res_features=true", "model.detach_coarse=true"),
    *("model.backbone.lora.alpha=64", "model.mask_reduction=first"),
)


def judged_experiments(configs: Path) -> list[str]:
    """List the experiments that name a row of the paper and those of ``WITHOUT_ROW``.

    All other files are a user's own: the tests never read more of them than the key ``paper``.
    """
    return sorted([*paper_experiments(configs), *WITHOUT_ROW])


FILES = judged_experiments(CONFIGS)


@cache
def composed(name: str, *overrides: str) -> DictConfig:
    """Compose an experiment once; the result is read-only."""
    config = compose_experiment(CONFIGS, name, overrides)
    OmegaConf.set_readonly(config, True)
    return config


def changeable(name: str, *overrides: str) -> DictConfig:
    """Copy a composed experiment."""
    config = deepcopy(composed(name, *overrides))
    OmegaConf.set_readonly(config, None)
    return config


def tiny(name: str, *overrides: str) -> DictConfig:
    """Compose an experiment with random weights at micro size, changing only keys that it has."""
    config = changeable(name, *overrides)
    drop_checkpoints(config.model)
    for key, value in MICRO.items():
        if OmegaConf.select(config, key) is not None:
            OmegaConf.update(config, key, value)
    return config


def leaves(value: Any, key: str = "") -> dict[str, Any]:
    """List the values of a nested dictionary by their dotted keys."""
    if not isinstance(value, dict):
        return {key: value}
    return {name: leaf for part in value for name, leaf in leaves(value[part], f"{key}.{part}".lstrip(".")).items()}


def rows_of(name: str) -> tuple[Reference, ...]:
    """Read the rows of the paper that an experiment's file names."""
    return references(yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")).get("paper"))
