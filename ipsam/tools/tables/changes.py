"""Differences between a run's settings and its experiment's, so that a trial cannot pass for a reproduction."""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ipsam.data.files import some
from ipsam.engine.runs.configuration import SECTIONS, Configs, as_dict, as_folders, compose_experiment
from ipsam.engine.runs.run_folder import ADDED
from ipsam.tools.tables.score_files import benchmark_name

# Keys that change scores by rounding at most: paths, speed, logging. The precision is not one: it changes training.
IRRELEVANT = {
    "data": ("root", "test"),
    "engine": (
        *("cpu", "num_threads", "num_workers", "eval_batch_size"),
        *("log_every", "val_every", "watch_test", "save_every", "keep", "best", "references", "deterministic"),
        *("trackers", "profile_steps", "timeout"),
    ),
}
MAX_SHOWN = 8
ABSENT = object()


def settings_of_run(config: DictConfig) -> dict[str, Any]:
    """Select the settings that scores depend on, also those that older runs lack.

    Pretrained weights count by their release, wherever they are.
    """
    merged = OmegaConf.merge(_added(), config)
    assert isinstance(merged, DictConfig)
    values = as_dict(merged)
    found = {
        section: {key: value for key, value in values[section].items() if key not in IRRELEVANT.get(section, ())}
        for section in SECTIONS
    }
    for part in found["model"].values():
        if isinstance(part, dict):
            part.update({key: _release(part[key]) for key in ("checkpoint", "pretrained") if key in part})
    return found


def _release(checkpoint: object) -> str:
    """Tell SAM 2.0's weights, by their official names, from all others and from none."""
    if checkpoint is None:
        return "none"
    return "SAM 2.0" if Path(str(checkpoint)).name.startswith("sam2_hiera_") else "pretrained"


def changes(config: DictConfig, settings: dict[str, Any], configs: Path | Configs) -> list[str]:
    """Describe what a run's saved configuration changes of the experiment that its ``name`` gives.

    Args:
        config: saved with the run.
        settings: ``settings_of_run`` of it.
        configs: the folder ``configs/`` with today's experiments, and perhaps others.
    """
    theirs = _settings_of_experiment(configs, str(config.get("name")))
    if isinstance(theirs, str):
        return [theirs]
    remarks = []
    if found := differences(settings, theirs):
        remarks.append(f"other settings than its experiment (in brackets): {some(found, MAX_SHOWN)}")
    remarks += [f"initialised from {_shown(config.init)}"] if config.get("init") else []
    tests = as_dict(config)["data"].get("test")
    given = [test for test in tests if isinstance(test, dict)] if isinstance(tests, list) else []
    names = filter(None, (benchmark_name(str(test.get("name"))) for test in given))
    return [*remarks, *(f"{name} from folders given by hand" for name in names)]


def base_of(name: str) -> str | None:
    """Name the experiment that a run of ``experiment/blank`` varies, at the run's scale; None for other runs."""
    scale, found, _ = name.rpartition("blank/")
    return f"{scale}cod_r32" if found and (not scale or scale.endswith("/")) else None


def changes_of_base(base: str, settings: dict[str, Any], configs: Path | Configs) -> list[str]:
    """List what a run of ``experiment/blank`` changes of its ``base_of``; other arguments as for ``changes``."""
    theirs = _settings_of_experiment(configs, base)
    return [theirs] if isinstance(theirs, str) else differences(settings, theirs)


@cache
def _settings_of_experiment(configs: Path | Configs, name: str) -> dict[str, Any] | str:
    """Compose an experiment, or return the reason why that fails."""
    scale, _, scaled = name.partition("/")
    scales = {known for folder in as_folders(configs) for known in yaml_names(folder / "scale")}
    overrides = [f"+scale={scale}"] if scale in scales else []
    experiment = scaled if overrides else name
    # Looked up in the list of files: the name comes from a run's file and could be a path to anywhere.
    if experiment not in experiment_folders(configs):
        return f"no such experiment: {name}"
    try:
        return settings_of_run(compose_experiment(configs, experiment, overrides))
    except (HydraException, OmegaConfBaseException) as error:
        return f"its experiment {name} can't be composed: {str(error).partition(chr(10))[0]}"


@cache
def _added() -> DictConfig:
    """Nest the settings that older runs lack, with the values that reproduce those runs."""
    config = OmegaConf.create()
    for key, value in ADDED.items():
        OmegaConf.update(config, key, value)
    return config


def experiment_folders(configs: Path | Configs) -> dict[str, Path]:
    """Return the folder of each experiment, by name; the first folder with a name wins, as for Hydra."""
    folders = [folder / "experiment" for folder in as_folders(configs)]
    return {name: folder for folder in reversed(folders) for name in yaml_names(folder)}


def yaml_names(folder: Path) -> list[str]:
    """List the YAML files below a folder as Hydra names them: relative paths without suffix."""
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def differences(ours: object, theirs: object, key: str = "") -> list[str]:
    """List every key whose values differ, as ``key ours (theirs)``."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            text
            for name in theirs | ours
            for text in differences(ours.get(name, ABSENT), theirs.get(name, ABSENT), f"{key}.{name}".lstrip("."))
        ]
    return [] if ours == theirs else [f"{key} {_shown(ours)} ({_shown(theirs)})"]


def _shown(value: object) -> str:
    if value is ABSENT or isinstance(value, dict):
        return "absent" if value is ABSENT else "{...}"
    if value == math.inf:
        return ".inf"  # as YAML and the command line write it
    return value if isinstance(value, str) else json.dumps(value, default=str, skipkeys=True)
