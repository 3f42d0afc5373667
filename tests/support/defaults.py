"""Options as the files in configs/ have them by default, but for what a test changes."""

from typing import Any

from ipsam.data import Data
from ipsam.data.transforms import Augment
from ipsam.engine.runs.configuration import settings_of
from ipsam.engine.runs.settings import LossWeights, Settings


def settings_with(**changes: Any) -> Settings:
    """Default options of ``engine`` with some changed."""
    return settings_of(Settings, changes, "engine")


def loss_weights_with(**changes: Any) -> LossWeights:
    """Default options of ``engine.loss`` with some changed."""
    return settings_of(LossWeights, changes, "engine.loss")


def data_with(**changes: Any) -> Data:
    """Default options of ``data`` with some changed; ``image_size`` and ``root`` must be given."""
    return settings_of(Data, changes, "data")


def augment_with(**changes: Any) -> Augment:
    """Default options of ``data.augment`` with some changed."""
    return settings_of(Augment, changes, "data.augment")
