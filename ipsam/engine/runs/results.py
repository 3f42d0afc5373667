"""Folders that the results of a run belong to."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ipsam.engine.metrics import Protocol
from ipsam.engine.runs.configuration import plain
from ipsam.engine.runs.run_folder import FIGURES, OWN_FOLDERS
from ipsam.engine.runs.store import BEST, Store, is_checkpoint, run_of
from ipsam.utils.folders import check_stays_inside


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
