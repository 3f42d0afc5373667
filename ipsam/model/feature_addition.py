"""FeatAdd: the self-prompt injected into the image features instead of the prompt space (paper, Table 3, part I)."""

from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.layers import zero_init

STRIDE = 4  # from the mask grid to the embedding grid


class FeatureAddition(nn.Module):
    """Strided projection of P+ that is added to the image embedding. It starts at zero.

    Args:
        dim: embedding width c.
    """

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.proj = zero_init(nn.Conv2d(1, dim, kernel_size=STRIDE, stride=STRIDE))

    def forward(
        self, features: Float[Tensor, "b c h w"], fg_logits: Float[Tensor, "b 1 4*h 4*w"]
    ) -> Float[Tensor, "b c h w"]:
        """Add the projection of P+ (b, 1, 4h, 4w) to the image embedding (b, c, h, w)."""
        injected: Tensor = self.proj(fg_logits)
        return features + injected
