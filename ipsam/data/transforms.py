"""Augment image and mask together, to the network's input size."""

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torchvision import tv_tensors
from torchvision.transforms import v2

from ipsam.utils.options import Options

Chance = Annotated[float, Field(ge=0, le=1)]


class Augment(Options):
    """Random changes of a training pair; configs/data/base.yaml explains each key and holds its default."""

    hflip: Chance
    vflip: Chance
    rotate: float = Field(ge=0)
    crop: float = Field(gt=0, le=1)
    jitter: float = Field(ge=0)

    def transform(self, image_size: int) -> v2.Transform:
        """Build the transform of image and mask to image_size x image_size."""
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


def to_mask(mask: NDArray[np.uint8]) -> tv_tensors.Mask:
    """Convert (height, width) to (1, height, width)."""
    return tv_tensors.Mask(torch.from_numpy(mask)[None])
