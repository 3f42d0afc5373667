"""MDSAM's modules: multi-scale adapter, multi-level fusion and detail enhancement.

Gao et al., *Multi-Scale and Detail-Enhanced Segment Anything Model for Salient Object Detection*, ACM MM 2024.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.layers import upsample


def conv_block(in_channels: int, out_channels: int, kernel_size: int, activation: type[nn.Module]) -> nn.Sequential:
    """Make a convolution without bias that keeps the grid, BatchNorm, activation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), activation())


class PooledScale(nn.Module):
    """Average pooling to ``size`` x ``size`` cells, a narrow and a depthwise convolution, upsampling to the grid."""

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        hidden = dim // 4
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(size),
            nn.Conv2d(dim, hidden, kernel_size=1),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, kernel_size=3, groups=hidden, bias=False),  # without padding
            nn.GELU(),
        )

    def forward(self, grid: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c_scale h w"]:
        """Map (b, dim, h, w) to (b, dim/4, h, w)."""
        pooled: Tensor = self.layers(grid)
        return F.interpolate(pooled, size=grid.shape[-2:], mode="bilinear", align_corners=True)


class MultiScaleAdapter(nn.Module):
    """Lightweight Multi-Scale Adapter (LMSA): x + up(mix([local(d), pooled(d) ...])) with d = down(x).

    Args:
        dim: width of the tokens.
        hidden: width inside, a multiple of 4.
        sizes: sides, in cells, of the pooled grids.
    """

    def __init__(self, dim: int, *, hidden: int, sizes: Sequence[int] = (3, 6, 9, 12)) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Linear(dim, hidden), nn.GELU())
        local = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden, bias=False)
        self.local = nn.Sequential(local, nn.GELU())
        self.pooled = nn.ModuleList(PooledScale(hidden, size) for size in sizes)
        mixed = hidden + len(sizes) * (hidden // 4)
        self.mix = nn.Sequential(nn.Conv2d(mixed, hidden, kernel_size=1), nn.GELU())
        self.up = nn.Linear(hidden, dim)

    def forward(self, tokens: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Adapt tokens (b, h, w, dim)."""
        grid = self.down(tokens).permute(0, 3, 1, 2)
        mixed = self.mix(torch.cat([self.local(grid), *(scale(grid) for scale in self.pooled)], dim=1))
        update: Tensor = self.up(mixed.permute(0, 2, 3, 1))
        return tokens + update


class MultiLevelFusion(nn.Module):
    """Multi-Level Fusion Module (MLFM): sum of the levels, weighted channel by channel from their fusion.

    Args:
        dim: channels of each level.
        num_levels: levels.
        own_gates: each gate reads its own level instead of the fusion, which is then not built.
    """

    def __init__(self, dim: int, *, num_levels: int = 4, own_gates: bool = False) -> None:
        super().__init__()
        self.fuse = None if own_gates else conv_block(num_levels * dim, dim, 1, nn.ReLU)
        self.gates = nn.ModuleList(conv_block(dim, dim, 1, nn.ReLU) for _ in range(num_levels))

    def forward(self, levels: Sequence[Float[Tensor, "b c h w"]]) -> Float[Tensor, "b c h w"]:
        """Add up levels (b, c, h, w), each multiplied by 1 + its gate (b, c, 1, 1) in (0, 1)."""
        read = list(levels) if self.fuse is None else [self.fuse(torch.cat(list(levels), dim=1))] * len(levels)
        weights = [gate(x).mean((2, 3), keepdim=True).sigmoid() for gate, x in zip(self.gates, read, strict=True)]
        return torch.stack([level * (1 + weight) for level, weight in zip(levels, weights, strict=True)]).sum(0)


class EdgeEnhancer(nn.Module):
    """Edge enhancement: x + conv(x - local mean of x)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = conv_block(dim, dim, 1, nn.Sigmoid)

    def forward(self, features: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """Enhance the edges of (b, c, H, W)."""
        edges: Tensor = self.conv(features - F.avg_pool2d(features, 3, stride=1, padding=1))
        return features + edges


class MultiScaleEdges(nn.Module):
    """Multi-scale Edge Enhancement Module (MEEM): edges of increasingly smooth features, concatenated.

    Args:
        dim: channels.
        hidden: channels at each scale.
        num_scales: number of scales; each is the one before, pooled once more.
    """

    def __init__(self, dim: int, *, hidden: int, num_scales: int = 4) -> None:
        super().__init__()
        self.enter = conv_block(dim, hidden, 1, nn.Sigmoid)
        self.smooth = nn.ModuleList(conv_block(hidden, hidden, 1, nn.Sigmoid) for _ in range(num_scales - 1))
        self.enhance = nn.ModuleList(EdgeEnhancer(hidden) for _ in range(num_scales - 1))
        self.leave = conv_block(num_scales * hidden, dim, 1, nn.ReLU)

    def forward(self, features: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """Enhance the edges of (b, dim, H, W)."""
        scale = self.enter(features)
        scales = [scale]
        for smooth, enhance in zip(self.smooth, self.enhance, strict=True):
            scale = smooth(F.avg_pool2d(scale, 3, stride=1, padding=1))
            scales.append(enhance(scale))
        edges: Tensor = self.leave(torch.cat(scales, dim=1))
        return edges


class DetailEnhancement(nn.Module):
    """Detail Enhancement Module (DEM): fusion of the decoder's upsampled features with the image's edges.

    Args:
        feature_dim: channels of the decoder's features and of the encoder's deepest level.
        image_dim: channels of the image branch.
    """

    def __init__(self, feature_dim: int, *, image_dim: int = 32) -> None:
        super().__init__()
        self.upsampling = nn.Sequential(
            conv_block(2 * feature_dim, feature_dim, 3, nn.ReLU),
            upsample(2),
            conv_block(feature_dim, feature_dim, 3, nn.ReLU),
            upsample(2),
            conv_block(feature_dim, feature_dim, 3, nn.ReLU),
        )
        self.image = conv_block(3, image_dim, 3, nn.ReLU)
        self.edges = MultiScaleEdges(image_dim, hidden=image_dim // 2)
        self.fuse = nn.Sequential(
            conv_block(feature_dim + image_dim, image_dim, 3, nn.ReLU),
            conv_block(image_dim, image_dim // 2, 3, nn.ReLU),
            nn.Conv2d(image_dim // 2, 1, kernel_size=1),
        )

    def forward(
        self,
        image: Float[Tensor, "b 3 H W"],
        features: Float[Tensor, "b c hm wm"],
        deep: Float[Tensor, "b c hm wm"],
    ) -> Float[Tensor, "b 1 H W"]:
        """Predict mask logits (b, 1, H, W) from the image and both (b, c, H/4, W/4) features."""
        upsampled = self.upsampling(torch.cat([features, deep], dim=1))
        details = self.image(image)
        logits: Tensor = self.fuse(torch.cat([upsampled, details + self.edges(details)], dim=1))
        return logits
