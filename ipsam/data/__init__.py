"""What finds, checks, reads and augments image/mask pairs. Knows nothing of engine or config files."""

from ipsam.data.data import Data
from ipsam.data.datasets import EpochSampler, TestSet, TrainSet, collate_test

__all__ = ["Data", "EpochSampler", "TestSet", "TrainSet", "collate_test"]
