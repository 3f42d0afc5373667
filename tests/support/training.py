"""Train tiny models, and compare what they become."""

from pathlib import Path
from typing import Any

import torch

from ipsam.data import TrainSet
from ipsam.engine.runs.trackers import Trackers
from ipsam.engine.train.trainer import train
from ipsam.model import IPSAM
from ipsam.utils.rng import seed_everything
from support.builders import micro_model

CONFIG = "model: {}\n"


class PowerCutError(Exception):
    """Training ends here."""


def fit(model: IPSAM, train_set: TrainSet | None, folder: Path, settings: Any, **options: Any) -> IPSAM:
    with Trackers(settings.trackers, folder, {"engine": settings.model_dump()}) as trackers:
        train(model, train_set, settings=settings, folder=folder, config=CONFIG, seed=0, trackers=trackers, **options)
    return model


def same(one: Any, other: Any) -> bool:
    """Compare to the bit, through dicts and lists of tensors and plain values."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def model_of(seed: int, **options: Any) -> IPSAM:
    seed_everything(seed)
    return micro_model(**options)
