"""Building blocks and checks that several modules share."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

PaddingMode = Literal["zeros", "replicate"]


class LayerNorm2d(nn.Module):
    """Normalisation over the channels of each cell, as sam2's.

    Args:
        num_channels: width.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Normalise, scale and shift."""
        mean = features.mean(1, keepdim=True)
        variance = (features - mean).pow(2).mean(1, keepdim=True)
        normalised = (features - mean) / torch.sqrt(variance + 1e-6)  # again, so that gradients are summed as in sam2
        return self.weight[:, None, None] * normalised + self.bias[:, None, None]


def check_choice(name: str, value: str | None, allowed: Sequence[str | None]) -> None:
    """Raise ValueError unless an argument has an allowed value."""
    if value not in allowed:
        or_none = f"; or set {name}=None" if None in allowed else ""
        raise ValueError(f"{name} must be one of {', '.join(filter(None, allowed))}, not {value!r}{or_none}")


def conv3x3(in_channels: int, out_channels: int, padding_mode: PaddingMode = "zeros") -> nn.Conv2d:
    """Make a 3x3 convolution that keeps the grid."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, padding_mode=padding_mode)


def conv3x3_block(in_channels: int, out_channels: int, padding_mode: PaddingMode = "zeros") -> nn.Sequential:
    """Make conv3x3, LayerNorm over channels, GELU."""
    return nn.Sequential(conv3x3(in_channels, out_channels, padding_mode), LayerNorm2d(out_channels), nn.GELU())


def logit_head(in_channels: int, hidden: int, padding_mode: PaddingMode = "zeros") -> nn.Sequential:
    """Make conv3x3, GELU, conv1x1 to one logit: PSG's gate predictor and the auxiliary head."""
    return nn.Sequential(conv3x3(in_channels, hidden, padding_mode), nn.GELU(), nn.Conv2d(hidden, 1, kernel_size=1))


def zero_init(conv: nn.Conv2d) -> nn.Conv2d:
    """Set weight and bias to zero, so that a residual branch starts as the identity."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def upsample(factor: int) -> nn.Upsample:
    """Make bilinear upsampling by an integer factor."""
    return nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=False)
