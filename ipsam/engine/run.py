"""A run's folder: where it is, what it holds, and what else has to be known to repeat it."""

import json
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accelerate import PartialState
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ipsam.data import TestSet, TrainSet
from ipsam.engine.checkpoint import CONFIG
from ipsam.engine.config import as_dict, plain, read_config
from ipsam.engine.data_seen import FILE as DATA
from ipsam.engine.data_seen import note_data
from ipsam.engine.folders import check_stays_inside, write_whole
from ipsam.engine.metrics import Protocol
from ipsam.engine.parameters import count
from ipsam.engine.paths import mode_of
from ipsam.engine.pretrained import find_model, model_config, read_about
from ipsam.engine.store import BEST, Store, is_checkpoint, run_of

PACKAGES = (
    "ipsam",
    "torch",
    "torchvision",
    "sam2",
    "peft",
    "accelerate",
    "hydra-core",
    "numpy",
    "opencv-python-headless",
)
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
            write_whole(folder / CONFIG, resolved)
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


def _environment(seed: int, model: nn.Module) -> dict[str, Any]:
    return {
        "seed": seed,
        "parameters": dict(zip(("param", "t_param"), count(model), strict=True)),
        "command": sys.argv,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "revision": _git("rev-parse", "HEAD"),
        "uncommitted": _git("status", "--porcelain"),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 (fixed words)
    except (OSError, subprocess.SubprocessError):
        return None  # installed without a repository, or no git here
    return done.stdout.strip()


def reopen_run(config: DictConfig) -> tuple[Path, DictConfig, Path]:
    """A finished run, for evaluation: its configuration, with what ``config`` (configs/eval.yaml) sets in place of it.

    Returns:
        The checkpoint's folder, the run's configuration, and the folder for results: ``eval`` in the run's folder; in
        it ``best`` for that checkpoint, the protocol's name unless it is the default one, ``other_images`` where
        the choice of images is changed, and ``CAMO+NC4K`` where only those are tested, so that nothing is replaced.

    Raises:
        FileNotFoundError, ValueError: if ``config.ckpt`` is no run or checkpoint, if there is no test set, or if the
            results would be written through a link out of the run's folder.
    """
    if OmegaConf.is_missing(config, "ckpt"):
        raise ValueError("say what to evaluate: ckpt=<a run's folder or a checkpoint's>")
    checkpoint, run = reopen(config, config.ckpt)
    if not run.data.get("test"):
        raise ValueError("nothing to evaluate on, as the run names no test set: data.test=[...]")
    return checkpoint, run, output_folder(config, checkpoint, results_folder(config, checkpoint))


def reopen(config: DictConfig, ckpt: str) -> tuple[Path, DictConfig]:
    """The folder of the checkpoint that is meant by ``ckpt``, and its run's configuration, changed as ``config`` says.

    Of a shared model, which has its model's configuration alone, the rest is as by default, and no test set is named.

    Raises:
        FileNotFoundError, ValueError: if there is none, or ``config.base`` names a part that the model does not have.
    """
    checkpoint = find_model(ckpt)
    run = (
        read_config(checkpoint / CONFIG)
        if is_checkpoint(checkpoint)
        else _of_shared(checkpoint, fetch=config.base is None)
    )
    for section in ("data", "engine"):
        for key, value in config[section].items():
            if value is not None:
                run[section][key] = value
    for name in ("num_workers", "num_threads"):  # of whoever trained it, on another machine
        if config.engine[name] is None and isinstance(run.engine.get(name), int):
            run.engine[name] = min(run.engine[name], os.cpu_count() or 1)
    if config.paths.data is not None:
        run.data.root = config.paths.data
    base = plain(config.base)
    for part, place in (base if isinstance(base, dict) else {"backbone": base}).items():
        if place is not None and not isinstance(run.model.get(part), DictConfig):
            raise ValueError(f"base={{{part}: ...}}: the run's model has no {part}")
        if place is not None:
            run.model[part].checkpoint = place
    return checkpoint, run


def _of_shared(folder: Path, *, fetch: bool) -> DictConfig:
    about = read_about(folder)
    model = model_config(about, fetch=fetch)
    data = {"image_size": about["image_size"], "root": DATA_ROOT, "train": [], "test": []}
    return OmegaConf.create({"name": about.get("name"), "model": model, "data": data, "engine": {}})


def output_folder(config: DictConfig, checkpoint: Path, in_run: Path) -> Path:
    """``config.out``, or ``in_run``, in the folder of the checkpoint's run.

    Raises:
        ValueError: results would be written through a link out of the run's folder; or there is neither.
    """
    folder = run_of(checkpoint)
    if config.out is None and not is_checkpoint(checkpoint):
        raise ValueError(f"{checkpoint} is a shared model, in no run's folder: say where results go, out=FOLDER")
    out = in_run if config.out is None else Path(str(config.out))
    if out.absolute().is_relative_to(folder.absolute()):
        check_stays_inside(folder, (*OWN_FOLDERS, FIGURES))
    return out


def results_folder(config: DictConfig, checkpoint: Path) -> Path:
    """Where the evaluation that ``config`` describes belongs, see ``reopen_run``."""
    folder = evaluation_folder(config, checkpoint, Protocol.of(plain(config.protocol)))
    choices = (config.data.exclude, config.data.size_mismatch, config.data.get("scaled_decode"))
    parts = [] if all(choice is None for choice in choices) else ["other_images"]
    parts += [] if config.data.test is None else ["+".join(map(_name, config.data.test))]
    return folder.joinpath(*parts)


def evaluation_folder(config: DictConfig, checkpoint: Path, protocol: Protocol) -> Path:
    """Where an evaluation of ``config.ckpt``, which is ``checkpoint``, on the run's own test sets belongs."""
    newest = next(iter(Store(checkpoint.parent).all()), checkpoint)
    asked = Path(str(config.ckpt))
    name = asked.name if asked.parent == checkpoint.parent else checkpoint.name  # ``best`` may be a text file
    is_newest = name != BEST and checkpoint.resolve() == newest.resolve()
    parts = [] if is_newest else [name]
    parts += [] if protocol.name == "default" else [protocol.name]
    return run_of(checkpoint).joinpath("eval", *parts)


def _name(spec: Any) -> str:
    return spec if isinstance(spec, str) else str(spec.get("name"))
