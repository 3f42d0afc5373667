"""Normalisation of the network input by ImageNet's mean and standard deviation, as in SAM and SAM2."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, UInt8

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # predicting by an exported file does without torch

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(image: UInt8[Tensor, "*b 3 H W"]) -> Float[Tensor, "*b 3 H W"]:
    """Turn RGB of 0 to 255, (3, H, W) or (b, 3, H, W), into contiguous network input on the same device."""
    import torch

    mean, std = _constants(image.device)
    values = image.as_subclass(torch.Tensor).to(torch.float32, memory_format=torch.contiguous_format)
    return (values.div(255) - mean) / std


def denormalise(image: Float[Tensor, "*b 3 H W"]) -> Float[Tensor, "*b 3 H W"]:
    """Invert ``normalise``, up to a scale: the result is in [0, 1]."""
    import torch

    mean, std = (torch.tensor(values, device=image.device).view(3, 1, 1) for values in (MEAN, STD))
    return (image * std + mean).clamp(0, 1)


@lru_cache
def _constants(device: Any) -> tuple[Tensor, Tensor]:
    """Copy mean and standard deviation (3, 1, 1) to a device, only once: a copy makes the CPU wait."""
    import torch

    with torch.inference_mode(False):  # training cannot use inference tensors
        return (torch.tensor(MEAN, device=device).view(3, 1, 1), torch.tensor(STD, device=device).view(3, 1, 1))
