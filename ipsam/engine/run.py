"""A run's folder: where it is, what it holds, and what else has to be known to repeat it."""

import json
import logging
import platform
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from accelerate import PartialState
from omegaconf import DictConfig, OmegaConf

from ipsam.engine.checkpoint import CONFIG, find_checkpoint
from ipsam.engine.config import as_dict, read_config

PACKAGES = ("ipsam", "torch", "torchvision", "sam2", "peft", "accelerate", "hydra-core", "numpy", "pysodmetrics")
OWN_FOLDERS = ("checkpoints", "tensorboard", "eval")
FREE_ON_RESUME = ("paths", "resume", "overwrite", "run_dir", "data.root", "data.test", "engine.num_workers")

logger = logging.getLogger(__name__)


def open_run(config: DictConfig) -> tuple[Path, str]:
    """Make or reopen the run's folder and write down configuration, code revision and package versions.

    Of several processes only the main one writes; the others wait for it.

    Returns:
        The folder, and the resolved configuration as YAML.

    Raises:
        ValueError: if the folder holds a run already and neither ``resume`` nor ``overwrite`` is set, or if a resumed
            run would go on with other settings.
    """
    folder = Path(config.run_dir)
    resolved = OmegaConf.to_yaml(config, resolve=True)
    state = PartialState(cpu=config.engine.cpu)
    if state.is_main_process:
        _make_room(folder, config)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_text(resolved)
        (folder / "environment.json").write_text(json.dumps(_environment(config.seed), indent=2) + "\n")
        logger.info("run folder: %s", folder)
    state.wait_for_everyone()
    return folder, resolved


def _make_room(folder: Path, config: DictConfig) -> None:
    if not (folder / "checkpoints").exists():
        return
    if config.overwrite:
        for name in OWN_FOLDERS:
            shutil.rmtree(folder / name, ignore_errors=True)
    elif config.resume:
        _check_unchanged(as_dict(read_config(folder / CONFIG)), as_dict(config), folder)
    else:
        raise ValueError(
            f"{folder} holds a run already: go on with it by resume=true, start anew by overwrite=true, "
            "or name another folder with run_dir=..."
        )


def _check_unchanged(saved: dict[str, Any], current: dict[str, Any], folder: Path) -> None:
    before, now = dict(_flat(saved, "")), dict(_flat(current, ""))
    changed = [
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not key.startswith(FREE_ON_RESUME)
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


def _environment(seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "command": sys.argv,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "revision": _git("rev-parse", "HEAD"),
        "uncommitted": bool(_git("status", "--porcelain")),
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
        The checkpoint's folder, the run's configuration, and the folder for results.

    Raises:
        FileNotFoundError, ValueError: if ``config.ckpt`` is no run or checkpoint.
    """
    if OmegaConf.is_missing(config, "ckpt"):
        raise ValueError("say what to evaluate: ckpt=<a run's folder or a checkpoint's>")
    checkpoint = find_checkpoint(Path(config.ckpt))
    run = read_config(checkpoint / CONFIG)
    for section in ("data", "engine"):
        for key, value in config[section].items():
            if value is not None:
                run[section][key] = value
    if config.paths.data is not None:
        run.data.root = config.paths.data
    if config.base is not None:
        run.model.backbone.checkpoint = config.base
    out = Path(config.out) if config.out is not None else Path(config.ckpt) / "eval"
    return checkpoint, run, out
