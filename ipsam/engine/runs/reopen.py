"""Reopening of a finished run for evaluation."""

import os
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from ipsam.engine.runs.checkpoint import CONFIG
from ipsam.engine.runs.configuration import plain, read_config
from ipsam.engine.runs.model_folder import find_model, model_config, read_about
from ipsam.engine.runs.results import output_folder, results_folder
from ipsam.engine.runs.run_folder import DATA_ROOT
from ipsam.engine.runs.store import is_checkpoint


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
