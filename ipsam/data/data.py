"""The data of a run: which sets it trains on, holds out and is tested on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ipsam.data.cache import cached
from ipsam.data.datasets import TestSet, TrainSet
from ipsam.data.images import FOREGROUND_ABOVE
from ipsam.data.layouts import Spec, dataset_pairs, set_name
from ipsam.data.pairs import SizeMismatch
from ipsam.data.sources import FolderSource, JoinedSource, Source, SubsetSource, SyntheticSource
from ipsam.data.transforms import Augment

logger = logging.getLogger(__name__)

SYNTHETIC = "synthetic"
MAX_IMAGE_SIZE = 4096  # four times the paper's
MAX_SCENES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Synthetic:
    """The synthetic sets.

    Attributes:
        difficulty: lowest and highest difficulty of a scene, between 0 (plainly visible) and 1 (truly hidden).
        num_train: scenes an epoch; every epoch makes new ones.
        num_test: test scenes, and as many for validation, each made from seeds that the others never use.
    """

    difficulty: Sequence[float] = (0.0, 1.0)
    num_train: int = 2000
    num_test: int = 200

    def __post_init__(self) -> None:
        for name in ("num_train", "num_test"):
            value = getattr(self, name)
            if not isinstance(value, int) or not 1 <= value <= MAX_SCENES:
                raise ValueError(f"data.synthetic.{name} is a whole number between 1 and {MAX_SCENES:,}, not {value!r}")
        if len(self.difficulty) != 2 or not 0 <= self.difficulty[0] <= self.difficulty[1] <= 1:
            raise ValueError(f"data.synthetic.difficulty is [lowest, highest] within [0, 1], not {self.difficulty}")

    def source(self, *, split: str, size: int, seed: int) -> SyntheticSource:
        """Training scenes depend on the run's seed; validation and test scenes are the same for every run."""
        length = self.num_train if split == "train" else self.num_test
        low, high = self.difficulty
        stream = {"test": (0,), "train": (1, seed), "val": (2,)}[split]
        return SyntheticSource(length, size, (float(low), float(high)), stream)


@dataclass(frozen=True, kw_only=True)
class Data:
    """What ``data`` holds in the configuration, checked, with the sets it describes.

    Attributes:
        image_size: side of the square network input in pixels.
        root: folder below which the known sets are found, in any of the layouts in use.
        train, test: sets by name, or ``{name, images, masks}`` for any folder pair.
        val: sets whose validation split is watched during training; or
        val_fraction: the share of the training pairs held out for that. Neither: nothing is held out.
        exclude: stems to leave out on purpose; as ``NAME/stem`` where only one of several sets has it.
        size_mismatch: what to do with a mask whose size is not its image's: ``error``, ``resize`` or ``exclude``;
            None does what is known to be right for the set.
        scaled_decode: read a JPEG at 1/2, 1/4 or 1/8 of its size where that is at least ``image_size`` both ways, which
            is faster and somewhat sharper; a training set that is cropped is read whole.
        cache: folder for the training pairs at ``image_size``, made at the first need, so that no later run or epoch
            decodes them; None: every pass reads the files. Synthetic scenes, new in every pass, are not kept.
        augment, synthetic: options of their own.
    """

    image_size: int
    root: str | Path
    train: Sequence[Spec] = ()
    test: Sequence[Spec] = ()
    val: Sequence[Spec] = ()
    val_fraction: float = 0.0
    exclude: Sequence[str] = ()
    size_mismatch: SizeMismatch | None = None
    scaled_decode: bool = False
    cache: str | Path | None = None
    augment: Mapping[str, Any] = field(default_factory=dict)
    synthetic: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("train", "test", "val", "exclude"):
            value, kinds = getattr(self, name), (str, int) if name == "exclude" else (str, Mapping)
            if isinstance(value, str):
                raise ValueError(f"data.{name} is a list: write data.{name}=[{value}]")
            if not isinstance(value, Sequence) or not all(isinstance(entry, kinds) for entry in value):
                raise ValueError(f"data.{name} is a list of names, not {value!r:.200}")
        if not isinstance(self.image_size, int) or not 1 <= self.image_size <= MAX_IMAGE_SIZE:
            raise ValueError(
                f"data.image_size is a whole number of pixels up to {MAX_IMAGE_SIZE}, not {self.image_size!r:.200}"
            )
        if not isinstance(self.root, str | Path):
            raise ValueError(f"data.root is a folder (paths.data=FOLDER), not {self.root!r:.200}")
        if not isinstance(self.scaled_decode, bool):
            raise ValueError(f"data.scaled_decode is true or false, not {self.scaled_decode!r:.200}")
        if not isinstance(self.cache, str | Path | None) or self.cache == "":
            raise ValueError(f"data.cache is a folder, or null for none, not {self.cache!r:.200}")
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f"data.val_fraction is a share in [0, 1), not {self.val_fraction}")
        if not self.train and (self.val or self.val_fraction):
            raise ValueError("data.val and data.val_fraction are for training, and data.train is empty")
        if self.val and self.val_fraction:
            raise ValueError("data.val and data.val_fraction exclude each other: set one")
        crop = Augment(**self.augment).crop  # complain now, not after a day of training
        if self.cache is not None and crop < 1:
            raise ValueError(
                f"data.cache keeps images at the network's size, of which data.augment.crop={crop} would take a part: "
                "set data.cache=null or data.augment.crop=1"
            )
        Synthetic(**self.synthetic)

    def train_and_val(self, seed: int) -> tuple[TrainSet | None, TestSet | None]:
        """The training set (None where ``train`` is empty), and what is held out to watch (None if nothing is)."""
        if not self.train:
            return None, None
        sources = [self._source(spec, "train", seed) for spec in self.train]
        whole: Source = JoinedSource(sources)
        kept: Source = JoinedSource([self._kept(source) for source in sources])
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
        train_set = TrainSet(kept, image_size=self.image_size, augment=Augment(**self.augment), seed=seed)
        return train_set, None if held_out is None else TestSet(held_out, image_size=self.image_size)

    def test_sets(self, *, foreground_above: int = FOREGROUND_ABOVE) -> dict[str, TestSet]:
        """The test sets by name, every file of theirs found and checked.

        Args:
            foreground_above: mask pixels above this value are foreground.
        """
        names = self.test_names()
        sources = [self._source(spec, "test", 0, foreground_above) for spec in self.test]
        return {name: TestSet(source, image_size=self.image_size) for name, source in zip(names, sources, strict=True)}

    def num_held_out(self, num_pairs: int) -> int:
        """How many of the training pairs ``val_fraction`` holds out; ValueError where that leaves none to train on."""
        num_held_out = max(1, round(self.val_fraction * num_pairs))
        if num_held_out == num_pairs:
            raise ValueError(
                f"data.val_fraction={self.val_fraction} of {num_pairs} training pairs leaves none to train on"
            )
        return num_held_out

    def test_names(self) -> list[str]:
        """The names of the test sets; ValueError where two are the same."""
        names = [set_name(spec) for spec in self.test]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"data.test names {', '.join(sorted(twice))} more than once")
        return names

    def _kept(self, source: Source) -> Source:
        """The same pairs, from the cache where there is to be one."""
        if self.cache is None or not isinstance(source, FolderSource):
            return source
        return cached(source, Path(self.cache), image_size=self.image_size)

    def _source(self, spec: Spec, split: str, seed: int, foreground_above: int = FOREGROUND_ABOVE) -> Source:
        if spec == SYNTHETIC:
            scenes = Synthetic(**self.synthetic).source(split=split, size=self.image_size, seed=seed)
            logger.info("synthetic/%s: %d scenes of difficulty %.2f to %.2f", split, len(scenes), *scenes.difficulty)
            return scenes
        pairs = dataset_pairs(spec, split, Path(self.root), exclude=self.exclude, size_mismatch=self.size_mismatch)
        crops = split == "train" and Augment(**self.augment).crop < 1  # of which no pixel is to spare
        return FolderSource(pairs, foreground_above, self.image_size if self.scaled_decode and not crops else None)
