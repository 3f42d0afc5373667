from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from support.defaults import augment_with
from torch.utils.data import DataLoader

from ipsam.data import EpochSampler, TestSet, TrainSet, collate_test
from ipsam.data.placement import Placement
from ipsam.data.sources import Sample, Source, SyntheticSource

FULL = augment_with(hflip=0.5, vflip=0.5, rotate=20.0, crop=0.5, jitter=0.3)
PLAIN = augment_with(hflip=0.0)


@dataclass(frozen=True)
class Fixed(Source):
    """Samples that are the same in every epoch, so that only augmentation can differ."""

    samples: Sequence[Sample]

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, index: int, epoch: int) -> Sample:
        return self.samples[index]


def noise(height: int, width: int, *, seed: int = 0, mask_size: tuple[int, int] | None = None) -> Sample:
    rng = np.random.default_rng(seed)
    mask = np.zeros(mask_size or (height, width), np.uint8)
    mask[mask.shape[0] // 4 : mask.shape[0] // 2, mask.shape[1] // 4 :] = 255
    return Sample(f"sample{seed}", rng.integers(0, 256, (height, width, 3), dtype=np.uint8), mask)


@pytest.fixture
def train_set() -> TrainSet:
    return TrainSet(Fixed([noise(80, 100, seed=seed) for seed in range(5)]), image_size=64, augment=FULL, seed=3)


def epoch(train_set: TrainSet, number: int, *, num_workers: int, seed: int = 0) -> Iterator[dict]:
    sampler = EpochSampler(len(train_set), seed=seed)
    sampler.epoch = number
    return iter(DataLoader(train_set, batch_size=2, sampler=sampler, num_workers=num_workers))


def test_item_depends_on_seed_and_index_alone(train_set: TrainSet) -> None:
    first = train_set[7]
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again = train_set[7]
    assert torch.equal(state, torch.get_rng_state())  # torch's own generator is left alone
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["mask"], again["mask"])
    other = TrainSet(train_set.source, image_size=64, augment=FULL, seed=4)[7]
    assert not torch.equal(first["image"], other["image"])


def test_epoch_does_not_depend_on_the_number_of_workers(train_set: TrainSet) -> None:
    for alone, shared in zip(epoch(train_set, 1, num_workers=0), epoch(train_set, 1, num_workers=2), strict=True):
        assert alone["name"] == shared["name"]
        assert torch.equal(alone["image"], shared["image"])
        assert torch.equal(alone["mask"], shared["mask"])


def test_persistent_workers_move_on_to_the_next_epoch(train_set: TrainSet) -> None:
    """A worker learns the epoch from the indices alone."""
    sampler = EpochSampler(len(train_set), seed=0)
    loader = DataLoader(train_set, batch_size=5, sampler=sampler, num_workers=1, persistent_workers=True)
    batches = []
    for number in range(2):
        sampler.epoch = number
        batches.append(next(iter(loader)))
    alone = next(epoch(train_set, 1, num_workers=0))
    assert torch.equal(batches[1]["image"][:2], alone["image"])


def test_each_epoch_has_its_own_augmentation_and_scenes(train_set: TrainSet) -> None:
    assert not torch.equal(train_set[2]["image"], train_set[2 + len(train_set)]["image"])
    scenes = TrainSet(SyntheticSource(4, 64, (0.0, 0.2), (1, 0)), image_size=64, augment=PLAIN, seed=0)
    assert (scenes[1]["name"], scenes[5]["name"]) == ("scene_000_00001", "scene_001_00001")
    assert not torch.equal(scenes[1]["mask"], scenes[5]["mask"])


def test_mask_of_another_size_is_laid_over_its_image() -> None:
    item = TrainSet(Fixed([noise(64, 64, mask_size=(128, 128))]), image_size=64, augment=PLAIN, seed=0)[0]
    expected = torch.zeros(1, 64, 64, dtype=torch.uint8)
    expected[0, 16:32, 16:] = 255
    assert torch.equal(item["mask"], expected)


def test_test_items_keep_the_masks_own_size() -> None:
    samples = [noise(50, 70), noise(64, 64, seed=1, mask_size=(30, 40))]
    test_set = TestSet(Fixed(samples), image_size=64)
    images, masks, names, placements = collate_test([test_set[0], test_set[1]])
    assert images.shape == (2, 3, 64, 64)
    assert torch.equal(images[0], Placement(64, 64, 64).image(samples[0].image))
    assert [mask.shape for mask in masks] == [(50, 70), (30, 40)]
    np.testing.assert_array_equal(masks[1], samples[1].mask)
    assert names == ["sample0", "sample1"]
    assert placements == [Placement(64, 64, 64)] * 2
    assert len(test_set) == 2


@pytest.mark.parametrize("size", [(40, 80), (90, 30)])
def test_letterboxed_training_pair_is_that_of_evaluation(size: tuple[int, int]) -> None:
    """The padding of the mask is background; a mask of another size than its image takes the image's place."""
    source = Fixed([noise(*size), noise(*size, seed=1, mask_size=(50, 50))])
    train_set = TrainSet(source, image_size=64, augment=PLAIN, seed=0, letterbox=True)
    test_set = TestSet(source, image_size=64, letterbox=True)
    squashed = TestSet(source, image_size=64)
    for index in range(2):
        item, tested = train_set[index], test_set[index]
        assert torch.equal(item["image"], tested["image"])
        assert not torch.equal(item["image"], squashed[index]["image"])
        assert tested["placement"] == Placement.of(size, 64, letterbox=True)
        np.testing.assert_array_equal(item["mask"][0], tested["placement"].mask(tested["mask"]))
        placed = tested["placement"].cropped(item["mask"].float())
        assert placed.shape[1:] == ((32, 64) if size == (40, 80) else (64, 21))
        assert item["mask"].float().sum() == placed.sum() > 0


def test_sampler_shuffles_every_epoch_by_the_seed() -> None:
    def orders(seed: int) -> list[list[int]]:
        sampler = EpochSampler(10, seed=seed)
        assert len(sampler) == 10
        found = []
        for sampler.epoch in range(3):
            found.append([index - 10 * sampler.epoch for index in sampler])
            assert sorted(found[-1]) == list(range(10))
        return found

    first, second, third = orders(5)
    assert list(range(10)) != first != second != third
    assert orders(5) == [first, second, third]
    assert orders(6)[0] != first
