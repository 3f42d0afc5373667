"""Weights that a training starts from instead of the model's own: those of a run or of a shared model."""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ipsam.engine.runs.checkpoint import WEIGHTS, check_finite, intact_weights, own_weights
from ipsam.engine.runs.configuration import as_dict, flat
from ipsam.engine.runs.model_folder import drop_start, find_model, read_description, trained_sets
from ipsam.engine.runs.store import Store
from ipsam.model import Segmenter
from ipsam.utils.weights import key_difference, sha256_of

MAX_SHOWN = 6  # settings in an error

logger = logging.getLogger(__name__)


def section_to_build(config: DictConfig) -> DictConfig:
    """Return a training's section ``model``, without the weights to start from if ``init`` replaces them all."""
    section: DictConfig = config.model.copy()
    if config.init is not None and config.init_strict:
        drop_start(section)
    return section


def start_from(config: DictConfig, model: Segmenter) -> dict[str, Any] | None:
    """Load the weights that ``config.init`` names into a new run's model.

    With ``config.init_strict=false`` only those that fit are loaded, and the log names each other one.

    Args:
        config: of a training.
        model: built from its section ``model``.

    Returns:
        What was loaded, for the record: source, file and its sha256, sha256 of the pretrained weights below it, keys
        of weights that were left out, and the model's training sets; None if ``init`` is null, or the run has a
        checkpoint to resume.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: its file is damaged; its weights do not fit; or they belong to other pretrained weights.
    """
    source = config.init
    if source is None or (config.resume and Store(Path(config.run_dir) / "checkpoints").all()):
        return None
    folder = find_model(str(source))
    path = folder / WEIGHTS
    weights, base = intact_weights(folder)
    _check_base(source, base, model.base_sha256)
    own = own_weights(model)
    left_out: list[str] = []
    if difference := key_difference(own, weights):
        if config.init_strict:
            settings = _other_settings(folder, config.model)
            raise ValueError(
                f"init={source}: {path} does not fit this run's model\n{difference}\n{settings}Choose the experiment "
                "and settings of that model, or take only the weights that fit with init_strict=false"
            )
        fitting = {name for name in own.keys() & weights.keys() if not key_difference(*_only(name, own, weights))}
        if not fitting:
            raise ValueError(f"init={source}: {path} has no weight that fits this run's model\n{difference}")
        left_out = sorted((own.keys() | weights.keys()) - fitting)
        for name in left_out:
            lacking = "not in this run's model" if name not in own else "of another shape or type in this run's model"
            logger.warning("init: %s is %s", name, lacking if name in weights else f"not in {path}; it stays untrained")
        weights = {name: weights[name] for name in weights if name in fitting}
    check_finite(weights, path)
    model.load_state_dict(weights, strict=False)  # checked above
    logger.info("initialised %d of %d tensors from %s", len(weights), len(own), path)
    sums = {"sha256": sha256_of(path), "base_sha256": base}
    return {"source": str(source), "file": str(path), **sums, "left_out": left_out, "model": _origin(folder)}


def _origin(folder: Path) -> dict[str, Any]:
    """Return what a model card must say of a model that another one starts from."""
    description = read_description(folder)
    return {
        "name": description.get("name"),
        "trained_on": trained_sets(description),
        "terms": description.get("terms"),
    }


def _check_base(source: Any, base: str | None, own: str | None) -> None:
    """Raise ValueError unless weights belong to the pretrained weights that the run's model has."""
    if base == own:
        return
    if base is None:
        raise ValueError(
            f"init={source} holds all weights of its model, also the frozen ones, but this run would save only what it "
            "trains beside its pretrained weights: set model.backbone.checkpoint=null"
        )
    raise ValueError(
        f"init={source} was trained on pretrained weights of sha256 {ascii(base[:140])[1:-1]}, but this run's model "
        f"has {f'those of {own}' if own else 'none'}: name the same file with model.backbone.checkpoint=..."
    )


def _only(name: str, *states: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: state[name]} for state in states]


def _other_settings(folder: Path, section: DictConfig) -> str:
    """Say in which settings the model of a folder differs from a section ``model``; an empty text if in none."""
    theirs: dict[str, Any] = {}
    with suppress(ValueError, OSError):
        theirs = dict(flat(read_description(folder)["model"], "model"))
    ours = dict(flat(as_dict(section), "model"))
    found = [
        f"{key} {theirs.get(key)!s:.99} ({ours.get(key)!s:.99} here)"
        for key in sorted(theirs.keys() | ours.keys())
        if theirs and theirs.get(key) != ours.get(key) and not key.endswith((".checkpoint", ".pretrained"))
    ]
    more = f"; and {len(found) - MAX_SHOWN} more" if len(found) > MAX_SHOWN else ""
    return f"Its model has {'; '.join(found[:MAX_SHOWN])}{more}. " if found else ""
