"""A run's folder: where it is, what it holds, and what else has to be known to repeat it."""

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ipsam.data import TestSet, TrainSet
from ipsam.engine.runs.checkpoint import CONFIG
from ipsam.engine.runs.configuration import as_dict, read_config
from ipsam.engine.runs.data_record import FILE as DATA
from ipsam.engine.runs.data_record import note_data
from ipsam.engine.runs.provenance import _environment
from ipsam.utils.files import mode_of, write_text
from ipsam.utils.folders import check_stays_inside

OWN_FOLDERS = ("checkpoints", "diverged", "tensorboard", "eval")
FIGURES = "figures"  # in a run's folder, too
DATA_ROOT = "data"  # configs/paths/default.yaml's
ENVIRONMENT = "environment.jsonl"
LOG = "train.log"
FREE_ON_RESUME = (
    "resume",
    "overwrite",
    "run_dir",
    "paper",
    "paths",
    "data.root",
    "data.cache",
    "data.test",
    "model.backbone.checkpoint",  # may have moved; that it is the same file is checked by its sha256
    "model.detector.checkpoint",
    "engine.num_workers",
    "engine.num_threads",
    "engine.eval_batch_size",
    "engine.log_every",
    "engine.val_every",
    "engine.save_every",
    "engine.keep",
    "engine.activation_checkpointing",
    "engine.memory_gb",
    "engine.on_divergence",
    "engine.references",
)
# Settings that there were not always, with what a run did before there were (of engine.fast: but for rounding).
ADDED = {"engine.fast": True, "engine.compile": False, "data.scaled_decode": False}

logger = logging.getLogger(__name__)


def check_run(config: DictConfig) -> None:
    """Complain before any work is done, if a run can't begin in its folder or with its seed.

    Raises:
        ValueError: if the folder holds a run already and neither ``resume`` nor ``overwrite`` is set, or both are; if a
            resumed run would go on with other settings; if the seed is not a whole number from 0; if something in the
            folder is a link that leads out of it.
    """
    if not isinstance(config.seed, int) or config.seed < 0:
        raise ValueError(f"seed must be a whole number, 0 or above, not {config.seed!r}")
    if config.resume and config.overwrite:
        raise ValueError("resume=true goes on with a run, overwrite=true throws it away: set one")
    folder = Path(config.run_dir)
    check_stays_inside(folder, (*OWN_FOLDERS, CONFIG, DATA, ENVIRONMENT, LOG))
    if config.overwrite or not mode_of(folder / "checkpoints"):
        return
    if not config.resume:
        raise ValueError(
            f"{folder} holds a run already: go on with it by resume=true, start anew by overwrite=true, "
            "or name another folder with run_dir=..."
        )
    _check_unchanged(as_dict(read_config(folder / CONFIG)), as_dict(config), folder)


def open_run(
    config: DictConfig, model: nn.Module, sets: Mapping[str, TrainSet | TestSet] | None = None
) -> tuple[Path, str]:
    """Make the run's folder (or empty it, with ``overwrite``) and write down what it takes to repeat the run.

    ``config.yaml`` is the whole configuration, ``data.json`` the numbers and a hash of the files of each set.
    ``environment.jsonl`` gets a line each time a run begins or goes on: seed, command, code revision, versions, and how
    many millions of parameters the model has. Of several processes only the main one writes; the others wait for it.

    Args:
        config: composed.
        model: of the run.
        sets: what the run sees, as ``named_sets`` gives them.

    Returns:
        The folder, and the resolved configuration as YAML.
    """
    folder = Path(config.run_dir)
    resolved = OmegaConf.to_yaml(config, resolve=True)
    state = PartialState(cpu=config.engine.cpu)
    if state.is_main_process:
        if config.overwrite:
            _throw_away(folder)
        if not (folder / "checkpoints").exists():  # a run killed before its first one is begun again, not resumed
            (folder / DATA).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / CONFIG).is_file() or (folder / CONFIG).read_text(encoding="utf-8") != resolved:
            write_text(folder / CONFIG, resolved)
        with (folder / ENVIRONMENT).open("a", encoding="utf-8") as file:
            file.write(json.dumps(_environment(config.seed, model)) + "\n")
        note_data(folder, sets or {})
        logger.info("run folder: %s", folder)
    state.wait_for_everyone()
    return folder, resolved


def _throw_away(folder: Path) -> None:
    """Remove what a former run left; whenever this is interrupted, no part of it is taken for a run any more."""
    for name in OWN_FOLDERS:
        gone = folder / f".old-{name}"
        for path in (gone, folder / name):
            if path.exists():
                path.replace(gone)
                shutil.rmtree(gone)


def _check_unchanged(saved: dict[str, Any], current: dict[str, Any], folder: Path) -> None:
    before, now = dict(_flat(saved, "")), dict(_flat(current, ""))
    new = {key for key, value in ADDED.items() if key not in before and now.get(key) == value}
    changed = [
        f"{key:.99}: {before.get(key)!s:.99} -> {now.get(key)!s:.99}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not key.startswith(FREE_ON_RESUME) and key not in new
    ]
    if changed:
        raise ValueError(
            f"{folder} was begun with other settings ({'; '.join(changed[:5])}): resume with its own, "
            "or name another folder with run_dir=..."
        )


def _flat(node: Any, prefix: str) -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        return [pair for key, child in node.items() for pair in _flat(child, f"{prefix}.{key}" if prefix else str(key))]
    return [(prefix, node)]
