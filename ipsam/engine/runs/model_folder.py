"""Folders of a model, by the names that users give them: a run, a checkpoint or a shared model."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ipsam import __version__
from ipsam.data.layouts import set_name
from ipsam.data.placement import check_input
from ipsam.engine.runs.checkpoint import CONFIG, WEIGHTS, finished_epochs
from ipsam.engine.runs.configuration import read_config
from ipsam.engine.runs.exported_file import describe, is_exported
from ipsam.engine.runs.hub import DESCRIPTION, download_model
from ipsam.engine.runs.model_names import find_named, model_names
from ipsam.engine.runs.model_section import check_model_section
from ipsam.engine.runs.run_folder import ENVIRONMENT, FREE_ON_RESUME
from ipsam.engine.runs.store import BEST, LAST, Store, follow
from ipsam.utils.files import is_file
from ipsam.utils.options import close_to
from ipsam.utils.untrusted import bounded_text, read_plain_json

RESUMING = "resume=true"
METRICS_FILE = "metrics.json"
OUTER_FOLDERS = re.compile(r"(?:~|[A-Za-z]:|(?<![\w.]))[/\\][^\s,'\"\[\]{}]*[/\\]")  # of an absolute path


def find_model(source: str | Path, *, revision: str | None = None) -> Path:
    """Find a model: the folder of a checkpoint, one with ``config.json``, or an exported file.

    A model that is not here is downloaded from the Hub.

    A folder with a name of ``model_names`` is given with its path, such as ``./micro``.

    Raises:
        FileNotFoundError: it is nowhere.
        ValueError: the name stands for a known model, and a model's folder here has it too; or as ``find_named``.
    """
    path, names = Path(source).expanduser(), model_names()
    if str(source) in names:
        if not any((path / name).exists() for name in (DESCRIPTION, WEIGHTS, "checkpoints")):
            return find_named(str(source), revision=revision)
        if isinstance(source, str):  # a Path drops the ./ that says which is meant
            raise ValueError(
                f"{source} is a name of a model that ipsam knows, and a model's folder here; write ./{source} for the "
                "folder, or rename it"
            )
    if (path / DESCRIPTION).is_file() or (is_exported(path) and path.is_file()):
        return path
    if path.exists():
        return find_checkpoint(path)
    missing = next(part for part in (*reversed(path.parents), path) if not part.exists())
    if missing.parent == Path() and str(source).count("/") == 1 and not str(source).startswith("."):
        try:
            return download_model(str(source), revision=revision)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; and there is no folder {source}") from error
    known = [entry.name for entry in missing.parent.iterdir()] if missing.parent.is_dir() else []
    meant = close_to(missing.name, known + [name for name in names if missing.parent == Path()])
    raise FileNotFoundError(
        f"no model at {source}{f' (did you mean {missing.with_name(meant)}?)' if meant else ''}: give the folder of a "
        "run, of a checkpoint or of a saved model, an exported file, a model's id on the Hugging Face Hub (name/model) "
        f"or one of these names: {', '.join(names)}"
    )


def find_checkpoint(path: Path) -> Path:
    """Find the checkpoint at a path: the folder itself, or the newest of a run.

    Raises:
        FileNotFoundError: it is neither.
    """
    newest = Store(path / "checkpoints").all()
    for folder in map(follow, (path, *newest[:1], path / "checkpoints" / LAST)):
        if is_file(folder / WEIGHTS):
            return folder
    raise FileNotFoundError(
        f"no checkpoint at {path}: give a run's folder (which holds checkpoints/{LAST}/{WEIGHTS}) "
        "or a checkpoint's, such as outputs/cod_r32/seed0/checkpoints/best"
    )


def is_checkpoint(folder: Path) -> bool:
    """Return whether a model's folder is a checkpoint of a training rather than a shared model."""
    return is_file(folder / CONFIG)


def run_of(checkpoint: Path) -> Path:
    """Return the folder of a checkpoint's run; the checkpoint's own folder if it is in none."""
    in_run = is_checkpoint(checkpoint) and checkpoint.parent.name == "checkpoints"
    return checkpoint.parents[1] if in_run else checkpoint


def read_description(folder: Path) -> dict[str, Any]:
    """Read a model's description: ``model`` (its configuration), ``image_size`` and ``letterbox`` of its input, and
    perhaps where it comes from.

    Raises:
        FileNotFoundError, ValueError: it is missing or damaged.
    """
    path = folder if is_exported(folder) else folder / DESCRIPTION
    if is_exported(folder):
        description = describe(folder)
    elif path.is_file():
        description = read_plain_json(path)
        if not isinstance(description, dict) or not isinstance(description.get("model"), dict):
            raise ValueError(f"{path} describes no model: it must hold model, its configuration")
    else:
        path = folder / CONFIG
        config: Any = OmegaConf.to_container(read_config(path))
        description = {
            "ipsam": __version__,
            "name": config.get("name"),
            "image_size": config["data"].get("image_size"),
            "letterbox": config["data"].get("letterbox", False),
            "trained_on": config["data"].get("train"),
            "started_from": _started_from(folder),
            "command": _command(folder),
            "made_with": _made_with(folder),
            "metrics": _metrics(scores_folder(folder) or folder, finished_epochs(folder)),
            "model": config["model"],
        }
    description.setdefault("letterbox", False)  # older models have none
    check_input(description, path)
    return description


def trained_sets(description: dict[str, Any]) -> list[str]:
    """Return the names of the sets that a model was trained on, and of those of the model that it started from."""
    own, start = description.get("trained_on") or [], description.get("started_from")
    earlier = start.get("trained_on") if isinstance(start, dict) else None
    return list(dict.fromkeys([*own_sets(own), *map(str, earlier or [])]))


def own_sets(specs: Iterable[Any]) -> list[str]:
    """Return the names of sets, without the folders of their files."""
    return [set_name(spec) if isinstance(spec, dict) else str(spec) for spec in specs]


def model_config(description: dict[str, Any], *, base: str | Path | None = None, download: bool = True) -> DictConfig:
    """Return a model's configuration, with the path of its pretrained weights on this machine.

    Weights that training only started from (``pretrained``) are left out.

    Args:
        description: as ``read_description`` returns it.
        base: file of the pretrained weights; None searches for it, see ``find_base``.
        download: download the pretrained weights if they are found nowhere.

    Raises:
        ValueError: this project has no such model.
        ValueError, OSError: as ``find_base``.
    """
    check_model_section(description["model"])
    config: DictConfig = OmegaConf.create(description["model"])
    drop_start(config)
    backbone = config.get("backbone")
    if isinstance(backbone, DictConfig) and backbone.get("checkpoint") is not None:
        from ipsam.engine.runs.fetch import find_base  # imports a library for HTTP

        backbone.checkpoint = str(find_base(backbone.checkpoint, download=download) if base is None else base)
    return config


def _started_from(checkpoint: Path) -> dict[str, Any] | None:
    """Read which model's weights a training began with: its name, its training sets and their terms of use."""
    try:
        begun = map(json.loads, bounded_text(run_of(checkpoint) / ENVIRONMENT).splitlines())
        start = next(one["init"]["model"] for one in begun if "init" in one)
        return start if isinstance(start, dict) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError, StopIteration):
        return None


def _made_with(checkpoint: Path) -> dict[str, str]:
    """Read the revision and the versions of the packages that made a checkpoint; empty where none are recorded."""
    try:
        last = json.loads(bounded_text(run_of(checkpoint) / ENVIRONMENT).splitlines()[-1])
        changed = " with changes" if last["uncommitted"] else ""
        revision = {"revision": f"{last['revision']}{changed}"} if last["revision"] else {}
        return {**revision, **{name: str(last["packages"][name]) for name in ("ipsam", "torch")}}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}


def drop_start(model: DictConfig) -> None:
    """Set the weights that training started from to None in a ``model`` section: a trained model has its own."""
    backbone = model.get("backbone")
    if isinstance(backbone, DictConfig) and backbone.get("pretrained") is not None:
        backbone.pretrained = None


def _command(checkpoint: Path) -> list[str] | None:
    """Read the arguments of ``ipsam train`` that made a checkpoint; None if no single command did, or none is recorded.

    Arguments without influence on the result are left out, and so are the private parts of paths.
    """
    try:
        begun = [
            json.loads(line)["command"][1:] for line in bounded_text(run_of(checkpoint) / ENVIRONMENT).splitlines()
        ]
        first = max((index for index, one in enumerate(begun) if RESUMING not in one), default=0)
        kept = [[one for one in each if not one.lstrip("+~").startswith(FREE_ON_RESUME)] for each in begun[first:]]
        changed = any(sorted(each) != sorted(kept[0]) for each in kept)  # on resuming, by allow_change
        is_sweep = any(one.startswith("-") for one in kept[0])  # whose arguments are those of several runs
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
    return None if changed or is_sweep else [OUTER_FOLDERS.sub(".../", one) for one in kept[0]]


def scores_folder(checkpoint: Path) -> Path | None:
    """Return the folder with the scores of exactly this checkpoint; None if its run has none."""
    scored = run_of(checkpoint) / "eval"
    folders = (scored, scored / checkpoint.name, scored / BEST)
    return next((folder for folder in folders if _metrics(folder, finished_epochs(checkpoint))), None)


def _metrics(folder: Path, epochs: int | None) -> dict[str, Any]:
    """Read the scores in a folder, if they are those of a model after so many epochs."""
    if epochs is None or not (folder / METRICS_FILE).is_file():
        return {}
    try:
        content = json.loads(bounded_text(folder / METRICS_FILE))
        datasets = content.get("datasets", {})
        return datasets if content.get("epochs") == epochs and isinstance(datasets, dict) else {}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
