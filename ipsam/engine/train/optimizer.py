"""AdamW that can skip a step without a GPU synchronisation, and its groups of parameters."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ipsam.data.files import some
from ipsam.engine.runs.settings import Settings
from ipsam.utils.weights import FLOATS

STATE = {"step", "exp_avg", "exp_avg_sq"}  # of each parameter that has had a gradient
EMBEDDING = re.compile(r"embed|token|queries|rel_pos")  # in the own name of one that is not in nn.Embedding


def parameter_groups(model: nn.Module, settings: Settings) -> list[dict[str, Any]]:
    """Split the trainable parameters into groups for AdamW, by ``engine.groups`` and ``engine.decay_all``.

    The grouping depends on nothing else, as the optimiser's state is in its order.

    Raises:
        ValueError: no trainable parameter is in one of ``engine.groups``.
    """
    embeddings = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Embedding)}
    names: list[str] = []
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        names.append(name)
        index = next((i for i, group in enumerate(settings.groups) if re.search(group.match, name)), -1)
        chosen = settings.groups[index] if index >= 0 else None
        decay = settings.weight_decay if chosen is None or chosen.weight_decay is None else chosen.weight_decay
        is_embedding = name in embeddings or EMBEDDING.search(name.rpartition(".")[2])
        spared = not settings.decay_all and bool(parameter.ndim <= 1 or is_embedding)
        fresh = {"params": [], "lr_scale": chosen.lr_scale if chosen else 1.0, "weight_decay": 0.0 if spared else decay}
        groups.setdefault((index, spared), fresh)["params"].append(parameter)
    for index, group in enumerate(settings.groups):
        if not any((index, spared) in groups for spared in (False, True)):
            raise ValueError(
                f"engine.groups[{index}]: match={group.match!r:.99} finds no trainable parameter that is not in an "
                f"earlier group; there are {some(names)}"
            )
    return list(groups.values())


class SkippableAdamW:
    """AdamW with steps that can be skipped.

    Args:
        parameters: parameters, or groups of them with ``lr_scale``, a factor of the learning rate.
        lr, weight_decay: as in ``torch.optim.AdamW``.
        fused: update all parameters by one kernel, which itself reads whether to skip, so that the host never waits.
            Otherwise torch loops over the parameters, and the host waits for the device before each step.

    Attributes:
        adamw: torch's optimiser.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter] | Sequence[dict[str, Any]],
        *,
        lr: float,
        weight_decay: float,
        fused: bool = True,
    ) -> None:
        self.fused = fused
        self.adamw = torch.optim.AdamW(
            parameters, lr=lr, weight_decay=weight_decay, fused=fused, foreach=None if fused else False
        )

    def step_unless(self, bad: Tensor, *, lr: float) -> None:
        """Step at a learning rate unless ``bad``, a float () on the device, is 1; then drop the gradients."""
        for group in self.adamw.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)
        if self.fused:
            self.adamw.found_inf = bad  # type: ignore[attr-defined]  # how torch.amp.GradScaler skips a fused step
        if self.fused or not bad.item():
            self.adamw.step()
        self.adamw.zero_grad()


def fitting_state(saved: Any, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Check a saved optimiser state, and combine it with the optimiser's own learning rate and other settings.

    Raises:
        ValueError: the state belongs to other parameters, or its numbers would damage the weights.
        TypeError, LookupError: the state is malformed.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not set(saved["state"]) <= set(range(len(parameters))):
        raise ValueError("the optimizer state belongs to other parameters")
    for index, state in saved["state"].items():
        if set(state) != STATE:
            raise ValueError(f"the optimizer state of parameter {index} must hold {', '.join(sorted(STATE))}")
        for name, value in state.items():
            shape = () if name == "step" else parameters[index].shape
            if not isinstance(value, Tensor) or value.shape != shape or str(value.dtype) not in FLOATS:
                raise ValueError(f"{name} of parameter {index} must be a float tensor of shape {tuple(shape)}")
            if not value.isfinite().all() or (name != "exp_avg" and (value < 0).any()):
                raise ValueError(f"{name} of parameter {index} holds a number that is negative or not finite")
            if name != "step":  # a fused step pairs numbers by their place in memory
                state[name] = torch.empty_like(parameters[index], dtype=value.dtype, device=value.device).copy_(value)
    return {"state": saved["state"], "param_groups": optimizer.state_dict()["param_groups"]}
