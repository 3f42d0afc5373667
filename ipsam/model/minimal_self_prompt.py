"""Minimal-SPG: dense prompts from a small CNN, no transformer and no tokens (paper section 4.3, Table 3, part I)."""

from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.layers import conv3x3_block, upsample
from ipsam.model.self_prompt import SelfPrompts


def minimal_branch(dim: int, hidden: int) -> nn.Sequential:
    """Make three blocks of conv3x3, LayerNorm and GELU, conv1x1 to one logit, x4 bilinear."""
    return nn.Sequential(
        conv3x3_block(dim, hidden),
        conv3x3_block(hidden, hidden),
        conv3x3_block(hidden, hidden),
        nn.Conv2d(hidden, 1, kernel_size=1),
        upsample(4),
    )


class MinimalSelfPromptGenerator(nn.Module):
    """SPG with a 3-layer CNN in place of each branch's two-way transformer, heads and queries.

    It makes neither sparse tokens nor mask tokens, so the decoder needs its own mask tokens.

    Args:
        dim: embedding width c.
        hidden: width of the three convolutions.
    """

    num_mask_tokens = 0

    def __init__(self, dim: int = 256, *, hidden: int = 64) -> None:
        super().__init__()
        self.positive = minimal_branch(dim, hidden)
        self.negative = minimal_branch(dim, hidden)

    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        position: Float[Tensor, "1 c h w"],  # noqa: ARG002 (called as SPG is)
    ) -> SelfPrompts:
        """Make dense prompts (b, 1, 4h, 4w) from image features (b, c, h, w), and empty tokens (b, 0, c)."""
        none = features.new_empty(features.shape[0], 0, features.shape[1])
        return SelfPrompts(self.positive(features), self.negative(features), none, none, None)
