"""How a run's settings differ from those of its experiment, so that a trial can't pass for a reproduction."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ipsam.data.benchmarks import benchmark
from ipsam.engine.runs.configuration import SECTIONS, as_dict, compose_experiment

# To the scores, but for rounding: where things lie, how fast, how often. Not so the precision, in which a run trains.
IRRELEVANT = {
    "data": ("root", "test"),
    "engine": (
        *("cpu", "num_threads", "num_workers", "eval_batch_size"),
        *("log_every", "val_every", "save_every", "keep", "best", "references", "deterministic"),
    ),
}
MAX_SHOWN = 8
ABSENT = object()

Settings = dict[str, Any]


def settings_of_run(config: DictConfig) -> Settings:
    """The settings that its scores depend on; of pretrained weights, which may lie anywhere, only whether there are."""
    values = as_dict(config)
    found = {
        section: {key: value for key, value in values[section].items() if key not in IRRELEVANT.get(section, ())}
        for section in SECTIONS
    }
    for part in found["model"].values():
        if isinstance(part, dict) and "checkpoint" in part:
            part["checkpoint"] = "none" if part["checkpoint"] is None else "pretrained"
    return found


class Experiments:
    """The experiments as they are today, each composed once.

    Args:
        configs: the folder ``configs/`` of the repository.
    """

    def __init__(self, configs: Path) -> None:
        self._configs = configs
        self._composed: dict[str, Settings | str] = {}

    def changes(self, config: DictConfig) -> tuple[str, ...]:
        """Remarks on what a run has otherwise than its experiment, none if nothing.

        Args:
            config: saved with the run; its ``name`` is the experiment's.
        """
        name = str(config.get("name"))
        if name not in self._composed:
            self._composed[name] = self._compose(name)
        composed = self._composed[name]
        if isinstance(composed, str):
            return (composed,)
        found = differences(settings_of_run(config), composed)
        more = [f"and {len(found) - MAX_SHOWN} more"] if len(found) > MAX_SHOWN else []
        told = ", ".join([*found[:MAX_SHOWN], *more])
        other = [f"other settings than its experiment (in brackets): {told}"] if found else []
        return (*other, *_own_folders(config))

    def _compose(self, name: str) -> Settings | str:
        scale, _, scaled = name.partition("/")
        overrides = [f"+scale={scale}"] if scale in self._files("scale") else []
        experiment = scaled if overrides else name
        # Asked for in the list of files, not on the disk: the name comes from a run's file and could lead anywhere.
        if experiment not in self._files("experiment"):
            return f"no such experiment: {name}"
        try:
            return settings_of_run(compose_experiment(self._configs, experiment, overrides))
        except (HydraException, OmegaConfBaseException) as error:
            return f"its experiment {name} can't be composed: {str(error).partition(chr(10))[0]}"

    def _files(self, group: str) -> set[str]:
        folder = self._configs / group
        return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}


def differences(ours: object, theirs: object, key: str = "") -> list[str]:
    """Every key whose values differ, as ``key ours (theirs)``."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        names = [*theirs, *(name for name in ours if name not in theirs)]
        return [
            text
            for name in names
            for text in differences(ours.get(name, ABSENT), theirs.get(name, ABSENT), f"{key}.{name}".lstrip("."))
        ]
    return [] if ours == theirs else [f"{key} {_shown(ours)} ({_shown(theirs)})"]


def _shown(value: object) -> str:
    if value is ABSENT:
        return "absent"
    if isinstance(value, dict):
        return "{...}"
    return value if isinstance(value, str) else json.dumps(value, default=str, skipkeys=True)


def _own_folders(config: DictConfig) -> list[str]:
    """Test sets that bear a benchmark's name, but were given as folders."""
    specs = as_dict(config)["data"].get("test")
    found = []
    for spec in specs if isinstance(specs, list) else ():
        if isinstance(spec, dict):
            with suppress(ValueError):
                found.append(f"{benchmark(str(spec.get('name'))).name} from folders given by hand")
    return found
