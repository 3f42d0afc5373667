"""A loss or gradient that is not finite is found before it poisons the weights."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class Guard:
    """Watches losses and gradients of an optimiser step.

    Args:
        accelerator: knows the other processes.
        model: whose running statistics a forward pass changes.
    """

    def __init__(self, accelerator: Accelerator, model: nn.Module) -> None:
        self.accelerator = accelerator
        self.statistics = [
            buffer for module in model.modules() if isinstance(module, _NormBase) for buffer in module.buffers()
        ]
        self.names: list[str] = []
        self.losses: list[Tensor] = []
        self.forget()

    def see(self, names: Sequence[str], loss: Tensor) -> None:
        """Note the images and the loss of one forward pass."""
        self.names += names
        self.losses.append(loss.detach())

    def passes(self, norm: Tensor) -> bool:
        """Whether the losses since the last step, on every process, and the gradient's norm are finite."""
        worst = torch.stack([torch.as_tensor(norm), *self.losses]).isfinite().all().logical_not().float()
        if self.accelerator.num_processes > 1:
            worst = self.accelerator.reduce(worst, reduction="sum")
        return not worst.item()

    def seen(self, norm: Tensor) -> dict[str, Any]:
        """Images and losses since the last step, on all processes, and the gradient's norm."""
        losses = [loss.item() for loss in self.losses]
        return {"images": gather_object(self.names), "losses": gather_object(losses), "gradient_norm": float(norm)}

    def undo(self) -> None:
        """Put back what the forward passes since the last step have changed."""
        for buffer, before in zip(self.statistics, self.before, strict=True):
            buffer.copy_(before)

    def forget(self) -> None:
        """Begin anew for the next step."""
        self.names, self.losses = [], []
        self.before = [buffer.clone() for buffer in self.statistics]


def save_for_inspection(folder: Path, seen: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
    """Add to a checkpoint's folder what was seen (``seen.json``) and the last batch (``batch.safetensors``)."""
    (folder / "seen.json").write_text(json.dumps(seen, indent=2) + "\n", encoding="utf-8")
    tensors = {name: batch[name].detach().cpu().contiguous() for name in ("image", "mask")}
    (folder / "batch.safetensors").write_bytes(safetensors.torch.save(tensors))
