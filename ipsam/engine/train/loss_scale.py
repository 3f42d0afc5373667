"""Scale of the loss in fp16, in which small gradients would vanish."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

INITIAL, MAX = 2.0**16, 2.0**24
INTERVAL = 2000  # steps without an overflow after which the scale doubles


class LossScale:
    """Factor of the loss, which follows the rule of ``torch.amp.GradScaler``: halved when a gradient overflows.

    Torch's scaler makes the host wait for the device, and takes a loss that is not finite for an overflow.

    Args:
        device: device of the loss.
        enabled: False leaves losses and gradients as they are.
    """

    def __init__(self, device: torch.device, *, enabled: bool) -> None:
        self.enabled = enabled
        self._scale = torch.tensor(INITIAL, device=device)
        self._good_steps = torch.zeros((), device=device)  # since the scale has changed

    def scaled(self, loss: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Scale a loss before its backward pass."""
        return loss * self._scale if self.enabled else loss

    @torch.no_grad()
    def unscale(self, parameters: Iterable[nn.Parameter]) -> None:
        """Undo the scale of the gradients, which overflows turn into infinite or NaN ones."""
        if self.enabled:
            inverse = 1 / self._scale
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(inverse)

    def update(self, *, bad: Tensor, overflow: Tensor) -> None:
        """Update the scale after an optimiser step, unless the step was ``bad`` for another reason than an overflow.

        ``bad`` and ``overflow`` are 0 or 1, () on the device.
        """
        good = self._good_steps + 1
        doubles = good >= INTERVAL
        grown = torch.where(doubles, (2 * self._scale).clamp(max=MAX), self._scale)
        scale = torch.where(overflow > 0, self._scale / 2, grown)
        steps = torch.where(doubles | (overflow > 0), 0.0, good)
        self._scale = torch.where(bad > 0, self._scale, scale)
        self._good_steps = torch.where(bad > 0, self._good_steps, steps)

    def state(self) -> list[float]:
        """Return the state for a checkpoint. This waits for the device."""
        return [self._scale.item(), self._good_steps.item()]

    def load(self, state: object) -> None:
        """Continue with the state of a checkpoint.

        Raises:
            ValueError: it is not one that ``state`` returns.
        """
        if not isinstance(state, list) or len(state) != 2 or not all(isinstance(number, float) for number in state):
            raise ValueError(f"loss_scale must be two numbers, not {state!r:.99}")
        scale, steps = state
        if not (0 < scale <= MAX and 0 <= steps < INTERVAL):
            raise ValueError(
                f"loss_scale must be above 0 and up to {MAX:.0f}, after 0 to {INTERVAL - 1} steps: {state}"
            )
        self._scale.fill_(scale)
        self._good_steps.fill_(steps)
