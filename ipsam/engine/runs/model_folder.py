"""Folder of a model: a run, a checkpoint or a model that somebody shared."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ipsam import __version__
from ipsam.data.data import MAX_IMAGE_SIZE
from ipsam.engine.runs.base_weights import find_base
from ipsam.engine.runs.checkpoint import CONFIG, finished_epochs
from ipsam.engine.runs.configuration import read_config
from ipsam.engine.runs.hub import ABOUT, fetch
from ipsam.engine.runs.model_section import check_model_section
from ipsam.engine.runs.store import find_checkpoint, run_of
from ipsam.utils.resources import CHECKPOINTS
from ipsam.utils.untrusted import bounded_text, read_plain_json

BUILTIN = ("micro",)


def find_model(source: str | Path, *, revision: str | None = None) -> Path:
    """The folder of a model, fetched from the Hub if that is where it is.

    Raises:
        FileNotFoundError: it is nowhere.
    """
    path = CHECKPOINTS / source if str(source) in BUILTIN and not Path(source).exists() else Path(source)
    if (path / ABOUT).is_file():
        return path
    if path.exists():
        return find_checkpoint(path)
    if str(source).count("/") == 1 and not str(source).startswith((".", "/", "~")):
        return fetch(str(source), revision=revision)
    raise FileNotFoundError(
        f"no model at {source}: give the folder of a run, of a checkpoint or of a saved model, a model's id on the "
        f"Hugging Face Hub (name/model), or one that comes with ipsam: {', '.join(BUILTIN)}"
    )


def read_about(folder: Path) -> dict[str, Any]:
    """What a model's folder says of it: ``model`` (its configuration), ``image_size``, and perhaps ``metrics``.

    Raises:
        FileNotFoundError, ValueError: it says nothing, or not in this form.
    """
    if not (folder / ABOUT).is_file():
        return _about_run(folder)
    about = read_plain_json(folder / ABOUT)
    if not isinstance(about, dict) or not isinstance(about.get("model"), dict):
        raise ValueError(f"{folder / ABOUT} is no model's: it must hold model, its configuration")
    return _with_size(about, folder / ABOUT)


def model_config(about: dict[str, Any], *, base: str | Path | None = None, fetch: bool = True) -> DictConfig:
    """The configuration of a model, with the place of its pretrained weights on this machine.

    Args:
        about: as ``read_about`` gives it.
        base: where they lie; None looks for them, and with ``fetch`` downloads them if they are nowhere.

    Raises:
        ValueError: it is no configuration of a model's here.
        ValueError, OSError: see ``find_base``.
    """
    check_model_section(about["model"])
    config: DictConfig = OmegaConf.create(about["model"])
    backbone = config.get("backbone")
    if isinstance(backbone, DictConfig) and backbone.get("checkpoint") is not None:
        backbone.checkpoint = str(find_base(backbone.checkpoint, fetch=fetch) if base is None else base)
    return config


def _about_run(checkpoint: Path) -> dict[str, Any]:
    """Of a checkpoint of a run: what was trained, on what, and how it scored, if it was evaluated."""
    plain: Any = OmegaConf.to_container(read_config(checkpoint / CONFIG))
    about = {
        "ipsam": __version__,
        "name": plain.get("name"),
        "image_size": plain["data"].get("image_size"),
        "trained_on": plain["data"].get("train"),
        "metrics": _metrics(checkpoint),
        "model": plain["model"],
    }
    return _with_size(about, checkpoint / CONFIG)


def _with_size(about: dict[str, Any], path: Path) -> dict[str, Any]:
    size = about.get("image_size")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_IMAGE_SIZE:
        raise ValueError(
            f"{path}: image_size must be a whole number of pixels up to {MAX_IMAGE_SIZE}, not {size!r:.99}"
        )
    return about


def _metrics(checkpoint: Path) -> dict[str, Any]:
    """The scores of exactly this checkpoint, where its run has them."""
    path = run_of(checkpoint) / "eval" / "metrics.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(bounded_text(path))
        epochs, datasets = content.get("epochs"), content.get("datasets", {})
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return datasets if epochs is not None and epochs == finished_epochs(checkpoint) else {}
