"""Guard against losses and gradients that are not finite: they never reach a weight."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


@dataclass
class StepRecord:
    """Record of one optimiser step.

    Attributes:
        names: stems of the images.
        indices: their indices in the training set, each () or (b,).
        losses: loss of each forward pass, ().
        step: number of the step, from 1.
        batch: this process's earlier forward passes in the epoch, without the step's last one.
        norm: norm of the gradient, ().
        bad: 1 if the step must be skipped, else 0, ().
    """

    names: list[str] = field(default_factory=list)
    indices: list[Tensor] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    step: int = 0
    batch: int = 0
    norm: Tensor = field(default_factory=lambda: torch.zeros(()))
    bad: Tensor = field(default_factory=lambda: torch.zeros(()))

    def gather(self) -> dict[str, Any]:
        """Gather the images, indices, losses and gradient norm of all processes, which must call this together."""
        indices = [index for some in self.indices for index in some.reshape(-1).tolist()]
        return {
            "images": gather_object(self.names),
            "indices": gather_object(indices),
            "losses": gather_object([loss.item() for loss in self.losses]),
            "gradient_norm": float(self.norm),
        }


class DivergenceGuard:
    """Check of each optimiser step's losses and gradient, without a synchronisation between host and device.

    The optimiser reads the verdict on the device; the host reads those of many steps at once.

    Args:
        accelerator: connection to the other processes.
        model: its batch-norm statistics are restored after a bad step.
        stop: treat every step after the first bad one as bad too, so that the weights stay as they were before it.
    """

    def __init__(self, accelerator: Accelerator, model: nn.Module, *, stop: bool) -> None:
        self.accelerator, self.stop = accelerator, stop
        norms = [module for module in model.modules() if isinstance(module, _NormBase)]
        self._statistics = [buffer for module in norms for buffer in module.buffers()]
        self._bad = torch.zeros((), device=accelerator.device)
        self._unread: list[StepRecord] = []
        self._begin_step()

    def _begin_step(self) -> None:
        self._record = StepRecord()
        self._before = [buffer.clone() for buffer in self._statistics]

    def record(self, batch: Mapping[str, Any], loss: Tensor) -> None:
        """Record the images and the loss of one forward pass."""
        self._record.names += batch["name"]
        self._record.indices.append(batch["index"])
        self._record.losses.append(loss.detach())

    @torch.no_grad()
    def check(self, norm: Tensor, *, step: int, batch: int) -> Tensor:
        """Return 1 if a loss on any process or the gradient's norm is not finite, else 0, as a tensor on the device.

        ``step`` and ``batch`` are the position of the step, see ``StepRecord``.
        """
        norm = torch.as_tensor(norm)
        bad = torch.stack([norm, *self._record.losses]).isfinite().all().logical_not().float()
        if self.accelerator.num_processes > 1:
            bad = self.accelerator.reduce(bad, reduction="sum").clamp(max=1)
        self._bad = torch.maximum(self._bad, bad) if self.stop else bad
        for buffer, before in zip(self._statistics, self._before, strict=True):
            buffer.copy_(torch.where(self._bad > 0, before, buffer))
        self._record.step, self._record.batch, self._record.norm, self._record.bad = step, batch, norm, self._bad
        self._unread.append(self._record)
        self._begin_step()
        return self._bad

    def bad_steps(self) -> list[StepRecord]:
        """Return the bad steps since the last call, the same on all processes. This waits for the device."""
        records, self._unread = self._unread, []
        flags = torch.stack([record.bad for record in records]).tolist() if records else []
        return [record for record, bad in zip(records, flags, strict=True) if bad]
