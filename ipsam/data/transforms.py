"""Augment image and mask together, to the network's input size."""

from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from ipsam.utils.options import Options

MIN_PIXELS = 16  # of the object and around it, for a mean and a spread that say something
Chance = Annotated[float, Field(ge=0, le=1)]


class Augment(Options):
    """Random changes of a training pair; configs/data/base.yaml explains each key and holds its default."""

    hflip: Chance
    vflip: Chance
    rotate: float = Field(ge=0)
    crop: float = Field(gt=0, le=1)
    jitter: float = Field(ge=0)
    camouflage: Chance = 0

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
        if self.camouflage:
            steps.append(Camouflage(self.camouflage))
        return v2.Compose(steps)


class Camouflage(v2.Transform):
    """Give the object its surroundings' colours, at a chance of ``p`` and a random strength of a half to one.

    In each channel the object gets the mean of the pixels around it, and no larger a spread than theirs (Reinhard et
    al., Color Transfer between Images, 2001, in RGB). Its texture and outline stay: everyday photos become hard ones.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Change the image (3, H, W) uint8 where the mask (1, H, W) of 0 to 255 says object; the mask stays."""
        hides, strength = torch.rand(2).tolist()
        inside = mask[0] > 127
        reach = max(inside.shape) // 12
        grown = inside[None].float()
        for kernel, padding in (((2 * reach + 1, 1), (reach, 0)), ((1, 2 * reach + 1), (0, reach))):
            grown = F.max_pool2d(grown, kernel, stride=1, padding=padding)
        around = (grown[0] > 0) & ~inside
        if hides >= self.p or min(int(inside.sum()), int(around.sum())) < MIN_PIXELS:
            return image, mask
        values = image.float()
        own, other = values[:, inside], values[:, around]
        scale = (other.std(1) / own.std(1).clamp(min=1)).clamp(max=1)[:, None, None]
        hidden = (values - own.mean(1)[:, None, None]) * scale + other.mean(1)[:, None, None]
        share = F.avg_pool2d(mask.float() / 255, 5, stride=1, padding=2) * (1 + strength) / 2  # no seam at the outline
        mixed = values.lerp(hidden, share)
        return tv_tensors.wrap(mixed.round().clamp(0, 255).to(torch.uint8), like=image), mask


def to_image(image: NDArray[np.uint8]) -> tv_tensors.Image:
    """Convert (height, width, 3) to (3, height, width)."""
    return tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1))


def to_mask(mask: NDArray[np.uint8]) -> tv_tensors.Mask:
    """Convert (height, width) to (1, height, width)."""
    return tv_tensors.Mask(torch.from_numpy(mask)[None])
