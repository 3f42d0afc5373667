"""SAM's prompt encoder for embeddings without one of their own, with the names and the results of sam2's module."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.layers import LayerNorm2d


class RandomPosition(nn.Module):
    """Position encoding by random spatial frequencies.

    Args:
        num_features: number of frequencies, half of the encoding's width.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, num_features))

    def forward(self, points: Float[Tensor, "h w 2"]) -> Float[Tensor, "h w c"]:
        """Encode points (x, y) in [0, 1]."""
        angles = 2 * math.pi * ((2 * points - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class PromptEncoder(nn.Module):
    """Embeddings of dense prompts, point types and positions. Points themselves are not embedded.

    Args:
        dim: embedding width c.
        grid: side of the embedding grid.

    Attributes:
        not_a_point_embed, no_mask_embed: unused; they keep the names of SAM's weights complete.
    """

    def __init__(self, dim: int, grid: int) -> None:
        super().__init__()
        self.image_embedding_size = (grid, grid)
        self.mask_input_size = (4 * grid, 4 * grid)
        self.pe_layer = RandomPosition(dim // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, dim) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, dim)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, 4, kernel_size=2, stride=2),
            LayerNorm2d(4),
            nn.GELU(),
            nn.Conv2d(4, 16, kernel_size=2, stride=2),
            LayerNorm2d(16),
            nn.GELU(),
            nn.Conv2d(16, dim, kernel_size=1),
        )
        self.no_mask_embed = nn.Embedding(1, dim)

    def get_dense_pe(self) -> Float[Tensor, "1 c h w"]:
        """Return the position encoding of the embedding grid."""
        points = cell_centres(self.image_embedding_size[0], self.pe_layer.positional_encoding_gaussian_matrix.device)
        encoding: Tensor = self.pe_layer(points).permute(2, 0, 1)
        return encoding[None]


def cell_centres(side: int, device: torch.device) -> Float[Tensor, "{side} {side} 2"]:
    """Return the centres (x, y) of a grid's cells, in [0, 1]."""
    ticks = (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side
    x, y = torch.meshgrid(ticks, ticks, indexing="xy")
    return torch.stack([x, y], dim=-1)
