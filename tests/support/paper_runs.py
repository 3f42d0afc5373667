"""Evaluated runs as scripts/train.py writes them, and scored maps as scripts/score.py does, with any scores."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from ipsam.engine.metrics import METRICS
from ipsam.engine.runs.configuration import compose_experiment

CONFIGS = Path(__file__).parents[2] / "configs"
COD = {"CAMO": 250, "CHAMELEON": 76, "COD10K": 2026, "NC4K": 4121}
SIZES = COD | {"Kvasir": 100, "CVC-ClinicDB-612": 612, "ETIS": 196}


@cache
def resolved(name: str, *overrides: str) -> str:
    """Return the configuration that a run of an experiment saves."""
    return OmegaConf.to_yaml(compose_experiment(CONFIGS, name, overrides), resolve=True)


def scores(value: float, size: int, **others: float) -> dict[str, float]:
    """Give every metric the same value, except ``others``."""
    return {"num_images": size, **dict.fromkeys(METRICS, value), **others}


def save_run(
    folder: Path,
    name: str,
    /,
    *overrides: str,
    seed: int = 0,
    value: float = 0.5,
    datasets: Mapping[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Save an evaluated run of an experiment.

    Args:
        folder: of the run.
        name: of the experiment.
        overrides: as on the command line.
        seed: of the run.
        value: of every score on the experiment's own test sets.
        datasets: scores by dataset, instead of those.
        config: top-level keys of the configuration to replace.
    """
    content = yaml.safe_load(resolved(name, *overrides)) | {"seed": seed} | config
    if datasets is None:
        names = [spec if isinstance(spec, str) else spec["name"] for spec in content["data"]["test"]]
        datasets = {name: scores(value, SIZES.get(name, 100)) for name in names}
    (folder / "eval").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    written = {"protocol": {"name": "default"}, "datasets": datasets}
    (folder / "eval" / "metrics.json").write_text(json.dumps(written), encoding="utf-8")
    return folder


def save_methods(folder: Path, methods: Mapping[str, Any], protocol: str = "default") -> Path:
    """Save the scores of methods with names."""
    folder.mkdir(parents=True)
    written = {"protocol": {"name": protocol}, "methods": methods}
    (folder / "metrics.json").write_text(json.dumps(written), encoding="utf-8")
    return folder / "metrics.json"
