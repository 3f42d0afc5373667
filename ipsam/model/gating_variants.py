"""Other operators in PSG's place (paper section 4.3, Table 3, part II): each combines E+ and E- before the decoder.

All are called as ``PromptSpaceGating`` is and return the dense prompt with a gate, or None where they have no gate.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.gating import PromptSpaceGating
from ipsam.model.layers import conv3x3, zero_init


class PurifiedAnchorGating(PromptSpaceGating):
    """PSG with its residual anchored to the purified prompt ("Anchor to purified E+"): purified + out(fuse(...)).

    Untrained, it hands the purified prompt on, not E+.
    """

    def forward(
        self, fg_dense: Float[Tensor, "b c h w"], bg_dense: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 1 h w"]]:
        """E+ and E-, (b, c, h, w) each, to the dense prompt and the gate (b, 1, h, w) in (0, 1)."""
        purified, correction, gate = self.suppress(fg_dense, bg_dense)
        return purified + correction, gate


class SubtractionFusion(nn.Module):
    """E+ + out(GELU(conv3x3(E+ - E-))), ``out`` a conv1x1 that starts at zero ("Subtraction").

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
        """E+ and E-, (b, c, h, w) each, to the dense prompt; no gate."""
        return fg_dense + self.out(self.fuse(fg_dense - bg_dense)), None


class ConcatenationFusion(nn.Module):
    """E+ + conv3x3([E+, E-]), the convolution starting at zero ("Concatenation").

    Args:
        dim: embedding width c.
    """

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.fuse = zero_init(conv3x3(2 * dim, dim))

    def forward(
        self, fg_dense: Float[Tensor, "b c h w"], bg_dense: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], None]:
        """E+ and E-, (b, c, h, w) each, to the dense prompt; no gate."""
        return fg_dense + self.fuse(torch.cat([fg_dense, bg_dense], dim=1)), None


class CrossAttentionFusion(nn.Module):
    """E+ + out(attention of E+ to E-): one layer without biases, ``out`` starting at zero ("CrossAttn Fusion").

    Args:
        dim: embedding width c, also inside the attention.
        num_heads: of the attention; divides ``dim``.

    Raises:
        ValueError: if it does not.
    """

    def __init__(self, dim: int = 256, *, num_heads: int = 8) -> None:
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"num_heads must divide the embedding width {dim}, which {num_heads} does not")
        self.num_heads = num_heads
        self.query = nn.Conv2d(dim, dim, kernel_size=1, bias=False)
        self.key = nn.Conv2d(dim, dim, kernel_size=1, bias=False)
        self.value = nn.Conv2d(dim, dim, kernel_size=1, bias=False)
        self.out = zero_init(nn.Conv2d(dim, dim, kernel_size=1, bias=False))

    def forward(
        self, fg_dense: Float[Tensor, "b c h w"], bg_dense: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], None]:
        """E+ (queries) and E- (keys and values), (b, c, h, w) each, to the dense prompt; no gate."""
        attended = F.scaled_dot_product_attention(
            self._heads(self.query(fg_dense)), self._heads(self.key(bg_dense)), self._heads(self.value(bg_dense))
        )  # (b, heads, hw, c/heads)
        return fg_dense + self.out(attended.transpose(2, 3).reshape(fg_dense.shape)), None

    def _heads(self, grid: Float[Tensor, "b c h w"]) -> Float[Tensor, "b heads hw c_head"]:
        b, c = grid.shape[:2]
        return grid.reshape(b, self.num_heads, c // self.num_heads, -1).transpose(2, 3)


Fusion = PromptSpaceGating | SubtractionFusion | ConcatenationFusion | CrossAttentionFusion
