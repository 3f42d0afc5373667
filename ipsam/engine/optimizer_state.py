"""AdamW's state as a checkpoint has it, looked at before it changes a weight."""

from typing import Any

import torch
from torch import Tensor

from ipsam.model.sam2_weights import FLOATS

KEPT = {"step", "exp_avg", "exp_avg_sq"}  # of each parameter that has had a gradient


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
