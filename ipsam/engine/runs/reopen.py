"""Reopening a finished run for evaluation, and the folders for its results."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from ipsam.data.layouts import set_name
from ipsam.engine.metrics import Protocol
from ipsam.engine.runs.checkpoint import CONFIG
from ipsam.engine.runs.configuration import plain, read_config
from ipsam.engine.runs.exported_file import is_exported
from ipsam.engine.runs.model_folder import drop_start, find_model, is_checkpoint, model_config, read_description, run_of
from ipsam.engine.runs.run_folder import DATA_ROOT, FIGURES, OWN_FOLDERS
from ipsam.engine.runs.store import BEST, Store
from ipsam.utils.folders import check_stays_inside
from ipsam.utils.worker_pool import num_cpus


def reopen_run(config: DictConfig) -> tuple[Path, DictConfig, Path]:
    """Reopen a finished run for evaluation.

    Args:
        config: of configs/eval.yaml. Its values replace the run's.

    Returns:
        The checkpoint's folder, the run's configuration, and the folder for results (``results_folder``).

    Raises:
        FileNotFoundError, ValueError: ``config.ckpt`` is not a run or checkpoint; there is no test set; or results
            would be written through a link out of the run's folder.
    """
    if OmegaConf.is_missing(config, "ckpt"):
        raise ValueError("ckpt=... is missing: name the folder of a run or of a checkpoint")
    checkpoint, run = reopen(config, config.ckpt)
    if not run.data.get("test"):
        raise ValueError("nothing to evaluate on, as the run names no test set: data.test=[...]")
    return checkpoint, run, output_folder(config, checkpoint, results_folder(config, checkpoint))


def reopen(config: DictConfig, ckpt: str) -> tuple[Path, DictConfig]:
    """Find the checkpoint that ``ckpt`` names, and its run's configuration with the values of ``config``.

    A shared model has only its model's configuration: the other settings get their defaults, and no test set.

    Raises:
        FileNotFoundError, ValueError: there is no such checkpoint, or ``config.base`` names a part that the model does
            not have.
    """
    checkpoint = find_model(ckpt)
    if is_checkpoint(checkpoint):
        run = read_config(checkpoint / CONFIG)
        drop_start(run.model)
    else:
        description = read_description(checkpoint)
        model = {} if is_exported(checkpoint) else model_config(description, download=config.base is None)
        given = {name: description[name] for name in ("image_size", "letterbox")}
        data = {**given, "root": DATA_ROOT, "train": [], "test": []}
        run = OmegaConf.create({"name": description.get("name"), "model": model, "data": data, "engine": {}})
    for section in ("data", "engine"):
        run[section].update({key: value for key, value in config[section].items() if value is not None})
    for name in ("num_workers", "num_threads"):  # the run's machine may have had more
        if config.engine[name] is None and isinstance(run.engine.get(name), int):
            run.engine[name] = min(run.engine[name], num_cpus())
    if config.paths.data is not None:
        run.data.root = config.paths.data
    base = plain(config.base)
    for part, path in (base if isinstance(base, dict) else {"backbone": base}).items():
        if path is not None and not isinstance(run.model.get(part), DictConfig):
            raise ValueError(f"base={{{part}: ...}}: the run's model has no {part}")
        if path is not None:
            run.model[part].checkpoint = path
    return checkpoint, run


def output_folder(config: DictConfig, checkpoint: Path, in_run: Path) -> Path:
    """Return the folder for results: ``config.out``, or else ``in_run``, a folder in the checkpoint's run.

    Raises:
        ValueError: results would be written through a link out of the run's folder; or a shared model needs ``out``.
    """
    folder = run_of(checkpoint)
    if config.out is None and not is_checkpoint(checkpoint):
        raise ValueError(f"{checkpoint} is a shared model without a run's folder: name the folder for results, out=...")
    out = in_run if config.out is None else Path(str(config.out))
    if out.absolute().is_relative_to(folder.absolute()):
        check_stays_inside(folder, (*OWN_FOLDERS, FIGURES))
    return out


def results_folder(config: DictConfig, checkpoint: Path) -> Path:
    """Return the folder in a run for the results of the evaluation that ``config`` describes.

    It is ``eval``, with a folder for each deviation, so that no results replace others: ``best`` for that checkpoint,
    the protocol's name, ``other_images`` for another choice of images, ``320px`` and ``letterbox`` (or ``squashed``)
    for another input, ``CAMO+NC4K`` for only these test sets.
    """
    folder = evaluation_folder(config, checkpoint, Protocol.of(plain(config.protocol)))
    choices = (config.data.exclude, config.data.size_mismatch, config.data.get("scaled_decode"))
    parts = [] if all(choice is None for choice in choices) else ["other_images"]
    size, letterbox = config.data.get("image_size"), config.data.get("letterbox")
    parts += [] if size is None else [f"{size}px"]
    parts += [] if letterbox is None else ["letterbox" if letterbox else "squashed"]
    parts += [] if config.data.test is None else ["+".join(map(set_name, config.data.test))]
    return folder.joinpath(*parts)


def evaluation_folder(config: DictConfig, checkpoint: Path, protocol: Protocol) -> Path:
    """Return the folder for an evaluation of ``config.ckpt``, which is ``checkpoint``, on the run's own test sets."""
    newest = next(iter(Store(checkpoint.parent).all()), checkpoint)
    ckpt = Path(str(config.ckpt))
    name = ckpt.name if ckpt.parent == checkpoint.parent else checkpoint.name  # ``best`` may be a text file
    is_newest = name != BEST and checkpoint.resolve() == newest.resolve()
    parts = [] if is_newest else [name]
    parts += [] if protocol.name == "default" else [protocol.name]
    return run_of(checkpoint).joinpath("eval", *parts)
