"""From a sample as stored to the network's input, and paired augmentation."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2


@dataclass(frozen=True)
class Augment:
    """Random changes of a training pair; every default but the flip is off.

    Attributes:
        hflip: chance of a horizontal flip.
        vflip: chance of a vertical flip.
        rotate: largest turn in degrees, to both sides.
        crop: smallest share of the area that a random crop keeps; 1 for no crop.
        jitter: strength of random brightness, contrast and saturation.
    """

    hflip: float = 0.5
    vflip: float = 0.0
    rotate: float = 0.0
    crop: float = 1.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("hflip", "vflip"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.augment.{name} is a chance in [0, 1], not {getattr(self, name)}")
        if not 0 < self.crop <= 1:
            raise ValueError(f"data.augment.crop is a share of the area in (0, 1], not {self.crop}")
        if not (self.rotate >= 0 and self.jitter >= 0):
            raise ValueError("data.augment.rotate and data.augment.jitter must not be negative")

    def transform(self, image_size: int) -> v2.Transform:
        """The paired transform, its output image_size x image_size."""
        size = (image_size, image_size)
        steps: list[v2.Transform] = [
            v2.RandomResizedCrop(size, scale=(self.crop, 1.0), antialias=True)
            if self.crop < 1
            else v2.Resize(size, antialias=True)
        ]
        if self.hflip:
            steps.append(v2.RandomHorizontalFlip(self.hflip))
        if self.vflip:
            steps.append(v2.RandomVerticalFlip(self.vflip))
        if self.rotate:
            steps.append(v2.RandomRotation(self.rotate, interpolation=v2.InterpolationMode.BILINEAR))
        if self.jitter:
            steps.append(v2.ColorJitter(self.jitter, self.jitter, self.jitter))
        return v2.Compose(steps)


def to_image(image: NDArray[np.uint8]) -> tv_tensors.Image:
    """(height, width, 3) to (3, height, width)."""
    return tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1))


def to_mask(mask: NDArray[np.uint8]) -> tv_tensors.Mask:
    """(height, width) to (1, height, width)."""
    return tv_tensors.Mask(torch.from_numpy(mask)[None])


def resized_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask of any size to (height, width) = ``size``, each pixel that of the mask at floor(place * scale)."""
    if mask.shape == size:
        return mask
    resized: NDArray[np.uint8] = cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST)
    return resized


def network_input(image: NDArray[np.uint8], image_size: int) -> UInt8[Tensor, "3 H W"]:
    """An RGB image (height, width, 3) of any size to (3, image_size, image_size), unaugmented, yet to be normalised."""
    resized: Tensor = v2.functional.resize(to_image(image), [image_size, image_size], antialias=True)
    return resized.as_subclass(Tensor)
