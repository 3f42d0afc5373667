"""Find, check, read and augment pairs of image and mask, without knowing of the engine or of configuration files."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipsam.data.batches import Batch as Batch
    from ipsam.data.batches import collate_test as collate_test
    from ipsam.data.batches import collate_train as collate_train
    from ipsam.data.data import Data as Data
    from ipsam.data.datasets import EpochBatches as EpochBatches
    from ipsam.data.datasets import EpochSampler as EpochSampler
    from ipsam.data.datasets import TestSet as TestSet
    from ipsam.data.datasets import TrainSet as TrainSet

_MODULES = {"Batch": "batches", "collate_test": "batches", "collate_train": "batches", "Data": "data"}
_MODULES |= dict.fromkeys(("EpochBatches", "EpochSampler", "TestSet", "TrainSet"), "datasets")


def __getattr__(name: str) -> Any:
    """Import torch only with the names that need it: scoring saved maps works without."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
