"""Lateral inhibition: an auxiliary structural regulariser on the feature pyramid (paper section 3.4, enhancement i)."""

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.layers import logit_head


class LateralInhibition(nn.Module):
    """Suppresses pyramid features where the detached coarse mask sees no object, and supervises what is left.

    Each level is multiplied by alpha + (1 - alpha) * sigmoid(coarse), resized to it; one head, shared by the levels,
    predicts the auxiliary logits.

    Args:
        dim: embedding width c.
        hidden: width inside the auxiliary head.
        alpha: what is left of a feature where the coarse mask is certain of background, in [0, 1].

    Raises:
        ValueError: for an alpha outside [0, 1].
    """

    def __init__(self, dim: int = 256, *, hidden: int = 64, alpha: float = 0.5) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"lateral alpha must lie in [0, 1], not {alpha}")
        self.alpha = alpha
        self.aux_head = logit_head(dim, hidden)

    def forward(
        self, fpn: Sequence[Float[Tensor, "b c _ _"]], coarse: Float[Tensor, "b 1 _ _"]
    ) -> list[Float[Tensor, "b c _ _"]]:
        """The gated pyramid, level by level in the shapes of ``fpn``. No gradient flows into ``coarse``."""
        prob = coarse.detach().sigmoid()
        gates = [F.interpolate(prob, size=level.shape[-2:], mode="bilinear", align_corners=False) for level in fpn]
        return [level * (self.alpha + (1 - self.alpha) * gate) for level, gate in zip(fpn, gates, strict=True)]

    def auxiliary(self, gated: Sequence[Float[Tensor, "b c _ _"]]) -> list[Float[Tensor, "b 1 _ _"]]:
        """Auxiliary logits of each gated level, (b, 1, level height, level width)."""
        return [self.aux_head(level) for level in gated]
