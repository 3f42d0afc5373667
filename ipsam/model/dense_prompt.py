"""Binarised and temperature-scaled dense prompts: alternatives to the raw logits (paper section 3.2).

The paper finds both worse than feeding the raw logits to the frozen prompt encoder.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn


class BinarisedPrompt(nn.Module):
    """Logits cut at zero to a binary mask, with SAM2's logits for mask prompts: -10 or +10.

    The threshold blocks the gradient, so SPG's dense heads learn from their own supervision alone.

    Args:
        magnitude: logit of the foreground; the background gets its negative.

    Raises:
        ValueError: ``magnitude`` is not positive and finite.
    """

    def __init__(self, *, magnitude: float = 10.0) -> None:
        super().__init__()
        self.magnitude = _positive(magnitude, "magnitude")

    def forward(self, logits: Float[Tensor, "b 1 hm wm"]) -> Float[Tensor, "b 1 hm wm"]:
        """Binarise dense prompt logits (b, 1, 4h, 4w)."""
        mask = (logits > 0).to(logits.dtype)
        return 2 * self.magnitude * mask - self.magnitude


class ScaledPrompt(nn.Module):
    """Logits divided by a temperature. Below 1 it sharpens the prompt, above 1 it softens it.

    Args:
        temperature: positive divisor.

    Raises:
        ValueError: ``temperature`` is not positive and finite.
    """

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        self.temperature = _positive(temperature, "temperature")

    def forward(self, logits: Float[Tensor, "b 1 hm wm"]) -> Float[Tensor, "b 1 hm wm"]:
        """Scale dense prompt logits (b, 1, 4h, 4w)."""
        return logits / self.temperature


def _positive(value: float, name: str) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} of the dense prompt must be a positive number, not {value}")
    return value


DensePrompt = BinarisedPrompt | ScaledPrompt
