"""Fusion operators in place of PSG: subtraction, concatenation, cross-attention (paper section 4.3, Table 3, part II).

Each combines the embeddings E+ and E-, (b, c, h, w) each, to one dense prompt (b, c, h, w). Like ``PromptSpaceGating``
they return a pair; its second item is None, as they have no gate.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.layers import conv3x3, zero_init


class Fusion(nn.Module):
    """Interface of the operators that combine two dense prompt embeddings to one, PSG included.

    ``forward(fg_dense, bg_dense)`` takes E+ and E-, (b, c, h, w) each. It returns the dense prompt (b, c, h, w), and a
    gate (b, 1, h, w) in (0, 1) or None.
    """


class SubtractionFusion(Fusion):
    """Subtraction: E+ + out(GELU(conv3x3(E+ - E-))), where ``out`` is a conv1x1 that starts at zero.

    Args:
        dim: embedding width c.
    """

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.fuse = nn.Sequential(conv3x3(dim, dim), nn.GELU())
        self.out = zero_init(nn.Conv2d(dim, dim, kernel_size=1))

    def forward(
        self, fg_dense: Float[Tensor, "b c h w"], bg_dense: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], None]:
        """Fuse E+ and E-; there is no gate."""
        return fg_dense + self.out(self.fuse(fg_dense - bg_dense)), None


class ConcatenationFusion(Fusion):
    """Concatenation: E+ + conv3x3([E+, E-]), where the convolution starts at zero.

    Args:
        dim: embedding width c.
    """

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.fuse = zero_init(conv3x3(2 * dim, dim))

    def forward(
        self, fg_dense: Float[Tensor, "b c h w"], bg_dense: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], None]:
        """Fuse E+ and E-; there is no gate."""
        return fg_dense + self.fuse(torch.cat([fg_dense, bg_dense], dim=1)), None


class CrossAttentionFusion(Fusion):
    """CrossAttn Fusion: E+ + out(attention of E+ to E-), one layer without biases, where ``out`` starts at zero.

    Args:
        dim: embedding width c, also inside the attention.
        num_heads: attention heads, a divisor of ``dim``.

    Raises:
        ValueError: ``num_heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int = 256, *, num_heads: int = 8) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"num_heads must divide the embedding width {dim}, not be {num_heads}")
        self.num_heads = num_heads
        self.query = nn.Conv2d(dim, dim, kernel_size=1, bias=False)
        self.key = nn.Conv2d(dim, dim, kernel_size=1, bias=False)
        self.value = nn.Conv2d(dim, dim, kernel_size=1, bias=False)
        self.out = zero_init(nn.Conv2d(dim, dim, kernel_size=1, bias=False))

    def forward(
        self, fg_dense: Float[Tensor, "b c h w"], bg_dense: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], None]:
        """Fuse E+ (queries) and E- (keys and values); there is no gate."""
        attended = F.scaled_dot_product_attention(
            self._heads(self.query(fg_dense)), self._heads(self.key(bg_dense)), self._heads(self.value(bg_dense))
        )  # (b, heads, hw, c/heads)
        return fg_dense + self.out(attended.transpose(2, 3).reshape(fg_dense.shape)), None

    def _heads(self, grid: Float[Tensor, "b c h w"]) -> Float[Tensor, "b heads hw c_head"]:
        b, c = grid.shape[:2]
        return grid.reshape(b, self.num_heads, c // self.num_heads, -1).transpose(2, 3)
