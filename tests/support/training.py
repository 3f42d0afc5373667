"""Training tiny models, for the tests of the trainer and its log."""

from pathlib import Path
from typing import Any

from ipsam.data import TrainSet
from ipsam.engine.train.trainer import train
from ipsam.model import IPSAM
from ipsam.utils.rng import seed_everything
from support.builders import micro_model

CONFIG = "model: {}\n"


class PowerCutError(Exception):
    """Training ends here."""


def fit(model: IPSAM, train_set: TrainSet | None, folder: Path, settings: Any, **options: Any) -> IPSAM:
    train(model, train_set, settings=settings, folder=folder, config=CONFIG, seed=0, **options)
    return model


def model_of(seed: int, **options: Any) -> IPSAM:
    seed_everything(seed)
    return micro_model(**options)
