"""AdamW, whose step can be left out without the device being asked for a number."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ipsam.utils.weights import FLOATS

KEPT = {"step", "exp_avg", "exp_avg_sq"}  # of each parameter that has had a gradient


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


def fitting_state(saved: Any, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A saved state dict for an optimiser; learning rate and the like stay the optimiser's own, as settings have them.

    Raises:
        ValueError: its numbers are not those of the optimiser's parameters, or would spoil the weights.
        TypeError, LookupError: it is no such dict.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not set(saved["state"]) <= set(range(len(parameters))):
        raise ValueError("the optimiser is one of other parameters")
    for index, state in saved["state"].items():
        if set(state) != KEPT:
            raise ValueError(f"the optimiser's state of parameter {index} is not {', '.join(sorted(KEPT))}")
        for name, value in state.items():
            shape = () if name == "step" else parameters[index].shape
            if not isinstance(value, Tensor) or value.shape != shape or value.dtype not in FLOATS:
                raise ValueError(f"the optimiser's {name} of parameter {index} is no tensor of floats {tuple(shape)}")
            if not value.isfinite().all() or (name != "exp_avg" and (value < 0).any()):
                raise ValueError(f"the optimiser's {name} of parameter {index} is not finite, or negative")
    return {"state": saved["state"], "param_groups": optimizer.state_dict()["param_groups"]}
