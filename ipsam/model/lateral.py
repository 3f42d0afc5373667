"""Lateral inhibition: an auxiliary structural regulariser of the feature pyramid (paper section 3.4, enhancement i)."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.layers import logit_head


class LateralInhibition(nn.Module):
    """Gate on the feature pyramid that suppresses features where the detached coarse mask sees no object.

    Each level is multiplied by alpha + (1 - alpha) * sigmoid(coarse), resized to it. One head, shared by the levels,
    predicts auxiliary logits of the gated features for supervision.

    Args:
        dim: embedding width c.
        hidden: width inside the auxiliary head.
        alpha: factor where the coarse mask is certain of background, in [0, 1].

    Raises:
        ValueError: ``alpha`` is outside [0, 1].
    """

    def __init__(self, dim: int = 256, *, hidden: int = 64, alpha: float = 0.5) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha of lateral inhibition must lie in [0, 1], not {alpha}")
        self.alpha = alpha
        self.aux_head = logit_head(dim, hidden)

    def forward(
        self, fpn: Sequence[Float[Tensor, "b c _ _"]], coarse: Float[Tensor, "b 1 _ _"]
    ) -> list[Float[Tensor, "b c _ _"]]:
        """Gate each level of ``fpn``; shapes stay. No gradient flows into ``coarse``."""
        prob = coarse.detach().sigmoid()
        gates = [F.interpolate(prob, size=level.shape[-2:], mode="bilinear", align_corners=False) for level in fpn]
        return [level * (self.alpha + (1 - self.alpha) * gate) for level, gate in zip(fpn, gates, strict=True)]

    def auxiliary(self, gated: Sequence[Float[Tensor, "b c _ _"]]) -> list[Float[Tensor, "b 1 _ _"]]:
        """Predict auxiliary logits (b, 1, level height, level width) of each gated level."""
        return [self.aux_head(level) for level in gated]
