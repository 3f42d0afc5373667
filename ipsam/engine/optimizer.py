"""AdamW, whose step can be left out without the device being asked for a number."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class SkippableAdamW:
    """The optimiser of a run, and how one of its steps is left out.

    With ``fused`` all parameters are updated by one kernel, which itself looks whether to do so: the host never waits
    for the device. Without, torch loops over the parameters, the plain way, and the host asks before each step.

    Args:
        parameters: what trains.
        lr, weight_decay: as ``torch.optim.AdamW`` has them.
        fused: as above.

    Attributes:
        adamw: torch's optimiser.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], *, lr: float, weight_decay: float, fused: bool = True
    ) -> None:
        self.fused = fused
        self.adamw = torch.optim.AdamW(
            parameters, lr=lr, weight_decay=weight_decay, fused=fused, foreach=None if fused else False
        )

    def step_unless(self, bad: Tensor, *, lr: float) -> None:
        """A step at this rate, but none where ``bad``, a float () on the device, is 1; then drop the gradients."""
        for group in self.adamw.param_groups:
            group["lr"] = lr
        if self.fused:
            self.adamw.found_inf = bad  # type: ignore[attr-defined]  # what torch.amp.GradScaler tells a fused kernel
            self.adamw.step()
        elif not bad.item():
            self.adamw.step()
        self.adamw.zero_grad()
