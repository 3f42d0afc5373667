"""Self-Prompt Generator (SPG): foreground and background prompts from the image itself (paper section 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.layers import conv3x3, conv3x3_block, upsample
from ipsam.model.two_way import TwoWayTransformer


@dataclass
class SelfPrompts:
    """SPG's outputs, before the prompt encoder.

    Attributes:
        fg_logits: dense foreground prompt P+, (b, 1, 4h, 4w).
        bg_logits: dense background prompt P-, (b, 1, 4h, 4w).
        fg_tokens: sparse foreground tokens S+, (b, n, c).
        bg_tokens: sparse background tokens S-, (b, n, c).
        mask_tokens: propagated output tokens T that replace the decoder's mask tokens, (b, m, c) (equation 1); None if
            the decoder uses its own.
    """

    fg_logits: Float[Tensor, "b 1 hm wm"]
    bg_logits: Float[Tensor, "b 1 hm wm"]
    fg_tokens: Float[Tensor, "b n c"]
    bg_tokens: Float[Tensor, "b n c"]
    mask_tokens: Float[Tensor, "b m c"] | None


class DenseHead(nn.Module):
    """Two convolutions on the grid, two bilinear x2 steps with a convolution after each, one logit."""

    def __init__(self, dim: int, *, channels: Sequence[int]) -> None:
        super().__init__()
        first, second, third, fourth = channels
        self.layers = nn.Sequential(
            conv3x3_block(dim, first),
            conv3x3_block(first, second),
            upsample(2),
            conv3x3_block(second, third),
            upsample(2),
            conv3x3_block(third, fourth),
            conv3x3(fourth, 1),
        )

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 4*h 4*w"]:
        """Predict mask-like logits (b, 1, 4h, 4w) from features (b, c, h, w)."""
        logits: Tensor = self.layers(features)
        return logits


class PromptBranch(nn.Module):
    """One branch of SPG: learnable task queries attend to the image, the attended image becomes the dense prompt."""

    def __init__(
        self,
        dim: int,
        *,
        num_sparse: int,
        num_mask_tokens: int,
        depth: int,
        num_heads: int,
        mlp_dim: int,
        head_channels: Sequence[int],
    ) -> None:
        super().__init__()
        self.num_sparse = num_sparse
        self.queries = nn.Parameter(torch.randn(num_sparse + num_mask_tokens, dim))
        self.transformer = TwoWayTransformer(depth=depth, embedding_dim=dim, num_heads=num_heads, mlp_dim=mlp_dim)
        self.sparse_proj = nn.Linear(dim, dim)
        self.mask_token_proj = nn.Linear(dim, dim) if num_mask_tokens else None
        self.dense_head = DenseHead(dim, channels=head_channels)

    def forward(
        self, features: Float[Tensor, "b c h w"], position: Float[Tensor, "1 c h w"]
    ) -> tuple[Float[Tensor, "b 1 4*h 4*w"], Float[Tensor, "b n c"], Float[Tensor, "b m c"] | None]:
        """Predict dense logits (b, 1, 4h, 4w), sparse tokens (b, n, c), and mask tokens (b, m, c) or None."""
        b = features.shape[0]
        queries = self.queries.expand(b, -1, -1)
        tokens, image = self.transformer(features, position.expand(b, -1, -1, -1), queries)  # (b, n, c), (b, hw, c)
        dense = self.dense_head(image.transpose(1, 2).reshape(features.shape))
        sparse = self.sparse_proj(tokens[:, : self.num_sparse])
        mask_tokens = None if self.mask_token_proj is None else self.mask_token_proj(tokens[:, self.num_sparse :])
        return dense, sparse, mask_tokens


class SelfPromptGenerator(nn.Module):
    """Dual-branch generator of complementary prompts (paper section 3.2, equation 1).

    Args:
        dim: embedding width c.
        num_sparse: sparse prompt tokens of each branch, at least 1. The paper takes SAM2's number (section 3.2; the
            value is lost).
        num_mask_tokens: propagated output tokens of the positive branch; with 0 the decoder needs its own mask tokens.
        depth, num_heads, mlp_dim: of each branch's two-way transformer.
        head_channels: widths of the dense head's four convolutions.

    Raises:
        ValueError: ``head_channels`` does not hold four widths, or there are no sparse tokens.
    """

    def __init__(
        self,
        dim: int = 256,
        *,
        num_sparse: int = 2,
        num_mask_tokens: int = 4,
        depth: int = 2,
        num_heads: int = 8,
        mlp_dim: int = 2048,
        head_channels: Sequence[int] = (128, 128, 64, 32),
    ) -> None:
        super().__init__()
        if len(head_channels) != 4:
            raise ValueError(f"head_channels must hold four widths, not {list(head_channels)}")
        if num_sparse < 1:
            raise ValueError(f"num_sparse must be at least 1, not {num_sparse}: the image attends to these tokens")
        self.num_mask_tokens = num_mask_tokens

        def branch(num_mask_tokens: int) -> PromptBranch:
            return PromptBranch(
                dim,
                num_sparse=num_sparse,
                num_mask_tokens=num_mask_tokens,
                depth=depth,
                num_heads=num_heads,
                mlp_dim=mlp_dim,
                head_channels=head_channels,
            )

        self.positive = branch(num_mask_tokens)
        self.negative = branch(0)

    def forward(self, features: Float[Tensor, "b c h w"], position: Float[Tensor, "1 c h w"]) -> SelfPrompts:
        """Make prompts from image features (b, c, h, w) and their position encoding (1, c, h, w)."""
        fg_logits, fg_tokens, mask_tokens = self.positive(features, position)
        bg_logits, bg_tokens, _ = self.negative(features, position)
        return SelfPrompts(fg_logits, bg_logits, fg_tokens, bg_tokens, mask_tokens)
