"""Pixel refinement head: a residual correction of the coarse mask (paper section 3.4, enhancement ii)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.layers import conv3x3, conv3x3_block, upsample, zero_init


class RefinementHead(nn.Module):
    """Bottleneck that fuses coarse mask, dense prompt and image features to a residual of the coarse mask.

    The last convolution starts at zero, so an untrained head returns the coarse mask unchanged.

    Args:
        dim: embedding width c.
        bottleneck: width of the bottleneck and of the layers at mask resolution.
    """

    def __init__(self, dim: int = 256, *, bottleneck: int = 64) -> None:
        super().__init__()
        self.image_proj = nn.Conv2d(dim, dim, kernel_size=1)
        self.dense_proj = nn.Conv2d(dim, dim, kernel_size=1)
        self.bottleneck = nn.Sequential(
            conv3x3_block(2 * dim, dim),
            conv3x3_block(dim, dim),
            conv3x3_block(dim, bottleneck),
            upsample(4),
        )
        self.residual = nn.Sequential(
            conv3x3_block(bottleneck + 1, bottleneck),
            conv3x3(bottleneck, bottleneck),
            nn.GELU(),
            zero_init(conv3x3(bottleneck, 1)),
        )

    def forward(
        self,
        coarse: Float[Tensor, "b 1 hm wm"],
        dense: Float[Tensor, "b c h w"],
        features: Float[Tensor, "b c h w"],
    ) -> Float[Tensor, "b 1 hm wm"]:
        """Add the residual to the coarse logits (b, 1, 4h, 4w)."""
        fused = self.bottleneck(torch.cat([self.image_proj(features), self.dense_proj(dense)], dim=1))
        residual: Tensor = self.residual(torch.cat([fused, coarse], dim=1))
        return coarse + residual
