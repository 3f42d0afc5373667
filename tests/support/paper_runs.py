"""Evaluated runs as scripts/train.py leaves them, with scores of the test's choice."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from ipsam.engine.runs.configuration import compose_experiment

CONFIGS = Path(__file__).parents[2] / "configs"
METRICS = ("mae", "fw", "sm", "em", "em_adp", "em_max", "f", "f_adp", "f_max", "mdice", "miou", "dice_50", "iou_50")
SIZES = {"CAMO": 250, "CHAMELEON": 76, "COD10K": 2026, "NC4K": 4121, "Kvasir": 100, "CVC-ClinicDB": 612, "ETIS": 196}


@cache
def resolved(name: str, *overrides: str) -> str:
    """The configuration that a run of an experiment saves."""
    return OmegaConf.to_yaml(compose_experiment(CONFIGS, name, overrides), resolve=True)


def scores(value: float, size: int, **others: float) -> dict[str, float]:
    """Every metric at one value, but for others."""
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
    """An evaluated run of an experiment: on its own test sets, all scores at one value; or with the scores given.

    Args:
        folder: of the run.
        name: of the experiment.
        overrides: as on the command line.
        seed: of the run.
        value: of every score.
        datasets: in place of the experiment's own, what metrics.json holds.
        config: top-level keys of its configuration to replace.
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
    """What scripts/score.py writes for methods with names."""
    folder.mkdir(parents=True)
    written = {"protocol": {"name": protocol}, "methods": methods}
    (folder / "metrics.json").write_text(json.dumps(written), encoding="utf-8")
    return folder / "metrics.json"
