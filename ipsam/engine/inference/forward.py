"""Forward pass of a model, and its logits as probability maps."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ipsam.data.placement import Placement
from ipsam.model import IPSAMOutput, Segmenter
from ipsam.utils.imagenet import normalise


def to_map(logits: Tensor, size: tuple[int, int], *, eight_bit: bool = True) -> Tensor:
    """Turn the logits (1, hm, wm) of one image into its map (height, width) = ``size``, on the same device.

    The map is uint8, 0 to 255, or float32, 0.0 to 1.0.
    """
    resized = F.interpolate(logits[None].float(), size=size, mode="bilinear", align_corners=False)[0, 0]
    probabilities = resized.sigmoid_()
    return probabilities.mul_(255).round_().to(torch.uint8) if eight_bit else probabilities


def forward(
    model: Segmenter,
    images: Tensor,
    masks: Sequence[NDArray[np.uint8]],
    placements: Sequence[Placement],
    *,
    device: torch.device,
    bf16: bool,
) -> IPSAMOutput:
    """Run a model on images (b, 3, H, W) uint8 of any device; an oracle gets their masks too, padded as they are."""
    placed = zip(masks, placements, strict=True)
    padded = (mask if placement.is_whole else placement.mask(mask) for mask, placement in placed)
    truth = ([torch.from_numpy(mask > 0) for mask in padded],) if model.oracle else ()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        output: IPSAMOutput = model(normalise(images.to(device, non_blocking=device.type == "cuda")), *truth)
    return output
