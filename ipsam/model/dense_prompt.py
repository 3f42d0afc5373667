"""What may be done to dense prompts before the frozen prompt encoder.

Section 3.2 finds binarising and temperature scaling worse than the raw logits.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.layers import zero_init

STRIDE = 4  # from the mask grid to the embedding grid


class BinarisedPrompt(nn.Module):
    """Logits cut at zero to a binary mask, in the form SAM2 gives one as logits: -10 or +10.

    No gradient passes the threshold: SPG's dense heads learn from their own supervision alone.

    Args:
        magnitude: logit of the foreground; its negative is that of the background.

    Raises:
        ValueError: for a magnitude that is not positive.
    """

    def __init__(self, *, magnitude: float = 10.0) -> None:
        super().__init__()
        self.magnitude = positive(magnitude, "magnitude")

    def forward(self, logits: Float[Tensor, "b 1 hm wm"]) -> Float[Tensor, "b 1 hm wm"]:
        """Dense prompt logits (b, 1, 4h, 4w) to logits of two values."""
        mask = (logits > 0).to(logits.dtype)
        return 2 * self.magnitude * mask - self.magnitude


class ScaledPrompt(nn.Module):
    """Logits divided by a temperature: below 1 the prompt is sharpened, above 1 softened.

    Args:
        temperature: positive.

    Raises:
        ValueError: for a temperature that is not positive.
    """

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        self.temperature = positive(temperature, "temperature")

    def forward(self, logits: Float[Tensor, "b 1 hm wm"]) -> Float[Tensor, "b 1 hm wm"]:
        """Dense prompt logits (b, 1, 4h, 4w), scaled."""
        return logits / self.temperature


def positive(value: float, name: str) -> float:
    """The value, if it is finite and above zero.

    Raises:
        ValueError: if it is not.
    """
    if not 0 < value < math.inf:
        raise ValueError(f"{name} of the dense prompt must be a positive number, not {value}")
    return value


DensePrompt = BinarisedPrompt | ScaledPrompt


class FeatureAddition(nn.Module):
    """Adds a strided projection of P+ to the image embedding; it starts at zero, as no injection.

    Args:
        dim: embedding width c.
    """

    def __init__(self, dim: int = 256) -> None:
        super().__init__()
        self.proj = zero_init(nn.Conv2d(1, dim, kernel_size=STRIDE, stride=STRIDE))

    def forward(
        self, features: Float[Tensor, "b c h w"], fg_logits: Float[Tensor, "b 1 4*h 4*w"]
    ) -> Float[Tensor, "b c h w"]:
        """Image embedding (b, c, h, w) plus the projected foreground prompt P+ (b, 1, 4h, 4w)."""
        injected: Tensor = self.proj(fg_logits)
        return features + injected
