"""The normalisation of every network's input: ImageNet's mean and standard deviation, as SAM and SAM2 have it."""

from functools import lru_cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(image: UInt8[Tensor, "*b 3 H W"]) -> Float[Tensor, "*b 3 H W"]:
    """RGB of 0 to 255, (3, H, W) or (b, 3, H, W), to the network's input, contiguous, on the device where it lies."""
    mean, std = _constants(image.device)
    values = image.as_subclass(Tensor).to(torch.float32, memory_format=torch.contiguous_format)
    return (values.div(255) - mean) / std


def denormalise(image: Float[Tensor, "*b 3 H W"]) -> Float[Tensor, "*b 3 H W"]:
    """The inverse of ``normalise``, but to [0, 1]."""
    mean, std = (torch.tensor(values, device=image.device).view(3, 1, 1) for values in (MEAN, STD))
    return (image * std + mean).clamp(0, 1)


@lru_cache
def _constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3, 1, 1), copied to a device once: each copy would make the CPU wait for it."""
    with torch.inference_mode(False):  # what inference makes, training could not use
        return (torch.tensor(MEAN, device=device).view(3, 1, 1), torch.tensor(STD, device=device).view(3, 1, 1))
