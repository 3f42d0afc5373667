"""Training and test sets for a DataLoader, and the samplers that shuffle them each epoch."""

from collections.abc import Iterator, Mapping
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchvision import tv_tensors

from ipsam.data.placement import Placement, resized_mask
from ipsam.data.sources import Source
from ipsam.data.transforms import Augment, to_image, to_mask


class TrainItem(TypedDict):
    """Training pair: image (3, H, W), mask (1, H, W) of 0 and 255, both uint8, the image's stem, the item's index.

    They become floats on the device: uint8 is a quarter of the bytes to pass between processes and to the device.
    """

    image: Tensor
    mask: Tensor
    name: str
    index: int


class TestItem(TypedDict):
    """Test pair: image (3, H, W) uint8, mask at its own size (height, width) uint8, the image's stem and placement."""

    image: Tensor
    mask: NDArray[np.uint8]
    name: str
    placement: Placement


class TrainSet(Dataset[TrainItem]):
    """Augmented pairs at the network's input size.

    Item ``epoch * len + i`` is sample i of that epoch. It depends on this number and the seed only, so neither the
    number of workers nor an interruption changes what a run trains on.
    """

    def __init__(
        self, source: Source, *, image_size: int, augment: Augment, seed: int, letterbox: bool = False
    ) -> None:
        self.source = source
        self.letterbox = letterbox
        self.seed = seed
        self.transform = augment.transform(image_size)
        self.image_size = image_size
        self.crops = augment.crop < 1

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> TrainItem:
        epoch, position = divmod(index, len(self.source))
        sample = self.source.read(position, epoch)
        if self.crops:
            image, mask = to_image(sample.image), to_mask(resized_mask(sample.mask, sample.image.shape[:2]))
        else:
            placement = Placement.of(sample.image.shape, self.image_size, letterbox=self.letterbox)
            image = tv_tensors.Image(placement.image(sample.image))
            mask = to_mask(placement.mask(sample.mask))
        with torch.random.fork_rng(devices=[]):  # torchvision uses torch's global generator
            seed = int(np.random.SeedSequence((self.seed, index)).generate_state(1)[0])
            torch.random.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPU as well
            image, mask = self.transform(image, mask)
        image, mask = image.as_subclass(Tensor), mask.as_subclass(Tensor)
        return {"image": image, "mask": mask, "name": sample.name, "index": index}


class TestSet(Dataset[TestItem]):
    """Pairs for evaluation: nothing random, masks at their own size; ``left_out`` holds other stems by the reason."""

    __test__ = False  # pytest would collect it by its name

    def __init__(self, source: Source, *, image_size: int, letterbox: bool = False) -> None:
        self.source = source
        self.image_size = image_size
        self.letterbox = letterbox
        self.left_out: Mapping[str, list[str]] = getattr(source, "left_out", {})

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> TestItem:
        sample = self.source.read(index, epoch=0)
        placement = Placement.of(sample.image.shape, self.image_size, letterbox=self.letterbox)
        image = placement.image(sample.image)
        return {"image": image, "mask": sample.mask, "name": sample.name, "placement": placement}


class EpochSampler(Sampler[int]):
    """Seeded shuffle for each epoch; ``epoch`` selects which, and yields that epoch's items."""

    def __init__(self, length: int, *, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        return iter((self.epoch * self.length + order).tolist())


class EpochBatches(Sampler[list[int]]):
    """One process's batches of an epoch; the processes take the batches of one common order in turns.

    A process that has none left in the last turn gets the first one again, which must not count: all have as many.

    Attributes:
        order: of the epoch's samples.
        first: number of its batches to leave out, which are still in its length.
    """

    def __init__(self, order: EpochSampler, batch_size: int, *, process: int = 0, num_processes: int = 1) -> None:
        self.order, self.batch_size, self.first = order, batch_size, 0
        self.process, self.num_processes = process, num_processes

    def __len__(self) -> int:
        return -(-len(self.order) // (self.batch_size * self.num_processes))

    def __iter__(self) -> Iterator[list[int]]:
        samples, size = list(self.order), self.batch_size
        for turn in range(self.first, len(self)):
            start = size * (turn * self.num_processes + self.process)
            yield samples[start : start + size] or samples[:size]
