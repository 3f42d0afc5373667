"""What finds, checks, reads and augments image/mask pairs. Knows nothing of engine or config files."""

from ipsam.data.batches import Batch, collate_test, collate_train
from ipsam.data.data import Data
from ipsam.data.datasets import EpochSampler, TestSet, TrainSet

__all__ = ["Batch", "Data", "EpochSampler", "TestSet", "TrainSet", "collate_test", "collate_train"]
