"""A loss or gradient that is not finite is found before it poisons the weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


@dataclass(frozen=True)
class Seen:
    """What there was of one optimiser step.

    Attributes:
        step: its number, from 1.
        batch: forward passes of this process in the epoch that are behind it.
        names: the images' stems.
        indices: of the images in the training set, each () or (b,).
        losses: of the forward passes, () each.
        norm: of the gradient, ().
        bad: 1 where the step is to be left out, else 0.
    """

    step: int
    batch: int
    names: list[str]
    indices: list[Tensor]
    losses: list[Tensor]
    norm: Tensor
    bad: Tensor


class Guard:
    """Watches losses and gradients of each optimiser step.

    The verdict stays on the device, where the optimiser heeds it; the host reads it later, of many steps at a time.

    Args:
        accelerator: knows the other processes.
        model: whose running statistics a forward pass changes.
        stop: from the first bad step on, every step is bad, so that the weights stay as they were before it.
    """

    def __init__(self, accelerator: Accelerator, model: nn.Module, *, stop: bool) -> None:
        self.accelerator = accelerator
        self.stop = stop
        self.statistics = [
            buffer for module in model.modules() if isinstance(module, _NormBase) for buffer in module.buffers()
        ]
        self.steps: list[Seen] = []
        self.bad = torch.zeros((), device=accelerator.device)
        self._begin()

    def see(self, batch: Mapping[str, Any], loss: Tensor) -> None:
        """Note the images and the loss of one forward pass."""
        self.names += batch["name"]
        self.indices.append(batch["index"])
        self.losses.append(loss.detach())

    @torch.no_grad()
    def judge(self, norm: Tensor, *, step: int, batch: int) -> Tensor:
        """1 where the step must be left out, else 0: a loss, on any process, or the gradient's norm is not finite.

        What its forward passes have changed is put back then.

        Args:
            norm: of the gradient.
            step, batch: as ``Seen`` has them.
        """
        norm = torch.as_tensor(norm)
        bad = torch.stack([norm, *self.losses]).isfinite().all().logical_not().float()
        if self.accelerator.num_processes > 1:
            bad = self.accelerator.reduce(bad, reduction="sum").clamp(max=1)
        self.bad = torch.maximum(self.bad, bad) if self.stop else bad
        for buffer, before in zip(self.statistics, self.before, strict=True):
            buffer.copy_(torch.where(self.bad > 0, before, buffer))
        self.steps.append(Seen(step, batch, self.names, self.indices, self.losses, norm, self.bad))
        self._begin()
        return self.bad

    def bad_steps(self) -> list[Seen]:
        """The steps since the last call that were left out; this asks the device. All processes get the same."""
        steps, self.steps = self.steps, []
        flags = torch.stack([seen.bad for seen in steps]).tolist() if steps else []
        return [seen for seen, bad in zip(steps, flags, strict=True) if bad]

    def _begin(self) -> None:
        self.names: list[str] = []
        self.indices: list[Tensor] = []
        self.losses: list[Tensor] = []
        self.before = [buffer.clone() for buffer in self.statistics]


def told(seen: Seen) -> dict[str, Any]:
    """Images with their indices, losses and the gradient's norm, of all processes, which all have to ask."""
    indices = [index for some in seen.indices for index in some.reshape(-1).tolist()]
    return {
        "images": gather_object(seen.names),
        "indices": gather_object(indices),
        "losses": gather_object([loss.item() for loss in seen.losses]),
        "gradient_norm": float(seen.norm),
    }


def save_for_inspection(folder: Path, seen: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
    """Add to a checkpoint's folder what was seen (``seen.json``) and the images (``batch.safetensors``)."""
    (folder / "seen.json").write_text(json.dumps(seen, indent=2) + "\n", encoding="utf-8")
    tensors = {name: batch[name].contiguous() for name in ("image", "mask")}
    (folder / "batch.safetensors").write_bytes(safetensors.torch.save(tensors))
