"""Data of a run: the sets it trains on, holds out and is tested on."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from ipsam.data.benchmarks import benchmark
from ipsam.data.cache import cached
from ipsam.data.datasets import TestSet, TrainSet
from ipsam.data.images import FOREGROUND_ABOVE
from ipsam.data.layouts import Spec, dataset_pairs, set_name
from ipsam.data.pairs import SizeMismatch
from ipsam.data.placement import MAX_IMAGE_SIZE
from ipsam.data.sources import FolderSource, JoinedSource, Source, SubsetSource, SyntheticSource
from ipsam.data.transforms import Augment
from ipsam.utils.options import Options, PathOption
from ipsam.utils.processes import from_main

logger = logging.getLogger(__name__)

SYNTHETIC = "synthetic"

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Sets = Annotated[Sequence[Spec], Field(description="a list of sets, [NAME, ...]")]


class Synthetic(Options):
    """Synthetic sets; configs/data/base.yaml explains each key and holds its default."""

    difficulty: Annotated[Sequence[float], Field(description="[lowest, highest] within [0, 1]")]
    num_train: Count
    num_test: Count

    @field_validator("difficulty")
    @classmethod
    def _check_difficulty(cls, value: Sequence[float]) -> Sequence[float]:
        if len(value) != 2 or not 0 <= value[0] <= value[1] <= 1:
            raise ValueError(f"must be [lowest, highest] within [0, 1], not {value}")
        return value

    def source(self, *, split: str, size: int, seed: int) -> SyntheticSource:
        """Return a split's scenes: those for training depend on the seed, the others are the same for every run."""
        length = self.num_train if split == "train" else self.num_test
        low, high = self.difficulty
        stream = {"test": (0,), "train": (1, seed), "val": (2,)}[split]
        return SyntheticSource(length, size, (float(low), float(high)), stream)


class Data(Options):
    """Sets that a run trains on, holds out and is tested on; configs/data/base.yaml explains each key.

    Raises:
        OptionsError: a value is impossible, or two exclude each other.
    """

    image_size: int = Field(ge=1, le=MAX_IMAGE_SIZE, description="a whole number of pixels")
    letterbox: bool
    root: PathOption
    train: Sets
    test: Sets
    val: Sets
    val_fraction: float = Field(ge=0, lt=1)
    exclude: Annotated[Sequence[str | int], Field(description="a list of stems, [STEM, ...]")]
    size_mismatch: SizeMismatch | None
    scaled_decode: bool
    cache: PathOption | None
    augment: Augment
    synthetic: Synthetic

    @model_validator(mode="after")
    def _check_together(self) -> "Data":
        if not self.train and (self.val or self.val_fraction):
            raise ValueError("val and val_fraction are for training, and train is empty")
        if self.val and self.val_fraction:
            raise ValueError("val and val_fraction exclude each other: set one")
        if self.letterbox and self.augment.crop < 1:
            raise ValueError(
                f"letterbox keeps an image's aspect ratio, which the crops of augment.crop={self.augment.crop} change: "
                "set letterbox=false or augment.crop=1"
            )
        if self.cache is not None and self.augment.crop < 1:
            raise ValueError(
                f"cache keeps images at the network's size, of which augment.crop={self.augment.crop} would take a "
                "part: set cache=null or augment.crop=1"
            )
        return self

    def train_and_val(self, seed: int) -> tuple[TrainSet | None, TestSet | None]:
        """Return the training set, None without ``train``, and the held-out set, None if nothing is held out."""
        if not self.train:
            return None, None
        sources = [self._source(spec, "train", seed) for spec in self.train]
        whole: Source = JoinedSource(sources)
        kept: Source = JoinedSource([self._with_cache(source) for source in sources])
        held_out: Source | None = None
        if self.val:
            held_out = JoinedSource([self._source(spec, "val", seed) for spec in self.val])
        elif self.val_fraction:
            order = np.random.default_rng((seed, len(whole))).permutation(len(whole)).tolist()
            num_held_out = self.num_held_out(len(whole))
            kept, held_out = (
                SubsetSource(kept, sorted(order[num_held_out:])),
                SubsetSource(whole, sorted(order[:num_held_out])),
            )
        train_set = TrainSet(
            kept, image_size=self.image_size, augment=self.augment, seed=seed, letterbox=self.letterbox
        )
        return train_set, None if held_out is None else self._test_set(held_out)

    def test_sets(self, *, foreground_above: int = FOREGROUND_ABOVE) -> dict[str, TestSet]:
        """Find and check all files of the test sets, and return the sets by name.

        Mask values above ``foreground_above`` are foreground.
        """
        names = self.test_names()
        sources = [self._source(spec, "test", 0, foreground_above) for spec in self.test]
        return {name: self._test_set(source) for name, source in zip(names, sources, strict=True)}

    def num_held_out(self, num_pairs: int) -> int:
        """Return how many training pairs ``val_fraction`` holds out; ValueError if it leaves none to train on."""
        num_held_out = max(1, round(self.val_fraction * num_pairs))
        if num_held_out == num_pairs:
            raise ValueError(f"val_fraction={self.val_fraction} of {num_pairs} training pairs leaves none to train on")
        return num_held_out

    def published_num_train(self) -> int:
        """Return the published number of training pairs, without those that ``val_fraction`` holds out.

        Of several published numbers it is the first.

        Raises:
            ValueError: a set is not a known benchmark.
        """
        num_pairs = 0
        for spec in self.train:
            known = None if spec == SYNTHETIC else benchmark(set_name(spec))
            num_pairs += self.synthetic.num_train if known is None else known.num_pairs["train"][0]
        return num_pairs - (self.num_held_out(num_pairs) if self.val_fraction else 0)

    def test_names(self) -> list[str]:
        """Return the names of the test sets; ValueError if two are the same."""
        names = [set_name(spec) for spec in self.test]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"test=[...] names {', '.join(sorted(twice))} more than once")
        return names

    def _with_cache(self, source: Source) -> Source:
        if self.cache is None or not isinstance(source, FolderSource):
            return source
        return cached(source, self.cache, image_size=self.image_size, letterbox=self.letterbox)

    def _test_set(self, source: Source) -> TestSet:
        return TestSet(source, image_size=self.image_size, letterbox=self.letterbox)

    def _source(self, spec: Spec, split: str, seed: int, foreground_above: int = FOREGROUND_ABOVE) -> Source:
        if spec == SYNTHETIC:
            scenes = self.synthetic.source(split=split, size=self.image_size, seed=seed)
            logger.info("synthetic/%s: %d scenes of difficulty %.2f to %.2f", split, len(scenes), *scenes.difficulty)
            return scenes
        choice: dict[str, Any] = {"exclude": self.exclude, "size_mismatch": self.size_mismatch}
        pairs = from_main(partial(dataset_pairs, spec, split, self.root, **choice))
        crops = split == "train" and self.augment.crop < 1  # crops need every pixel
        at_least = self.image_size if self.scaled_decode and not crops else None
        return FolderSource(pairs, foreground_above, at_least, pairs.left_out)
