"""Guard against losses and gradients that are not finite: they never reach a weight."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ipsam.engine.train.loss_scale import LossScale


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
        bad: 1 if a loss or the gradient was not finite, else 0, ().
        overflow: 1 if only the gradient was not finite, in fp16, in which its scale can be the reason; else 0, ().
    """

    names: list[str] = field(default_factory=list)
    indices: list[Tensor] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    step: int = 0
    batch: int = 0
    norm: Tensor = field(default_factory=lambda: torch.zeros(()))
    bad: Tensor = field(default_factory=lambda: torch.zeros(()))
    overflow: Tensor = field(default_factory=lambda: torch.zeros(()))

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
        model: its batch-norm statistics are restored after a skipped step.
        stop: treat every step after the first bad one as bad too, so that the weights stay as they were before it.
        scale: of the loss; it is updated after each step.
    """

    def __init__(self, accelerator: Accelerator, model: nn.Module, *, stop: bool, scale: LossScale) -> None:
        self.accelerator, self.stop, self.scale = accelerator, stop, scale
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
        """Return 1 if a step must be skipped, else 0, as a tensor on the device.

        It must be if a loss on any process or the gradient's norm is not finite. ``step`` and ``batch`` are the
        position of the step, see ``StepRecord``.
        """
        norm = torch.as_tensor(norm)
        flags = torch.stack([norm.isfinite(), torch.stack(self._record.losses).isfinite().all()]).logical_not().float()
        if self.accelerator.num_processes > 1:
            flags = self.accelerator.reduce(flags, reduction="sum").clamp(max=1)
        overflow = flags[0] * (1 - flags[1]) * self.scale.enabled
        bad = flags.amax() - overflow
        self._bad = torch.maximum(self._bad, bad) if self.stop else bad
        skip = torch.maximum(self._bad, overflow)
        for buffer, before in zip(self._statistics, self._before, strict=True):
            buffer.copy_(torch.where(skip > 0, before, buffer))
        if self.scale.enabled:
            self.scale.update(bad=self._bad, overflow=overflow)
        self._record.step, self._record.batch, self._record.norm = step, batch, norm
        self._record.bad, self._record.overflow = self._bad, overflow
        self._unread.append(self._record)
        self._begin_step()
        return skip

    def skipped_steps(self) -> list[tuple[StepRecord, bool]]:
        """Return the steps to skip since the last call, and whether each was bad, the same on all processes.

        This waits for the device.
        """
        records, self._unread = self._unread, []
        flags = torch.stack([torch.stack([one.bad, one.overflow]) for one in records]).tolist() if records else []
        return [(record, bool(bad)) for record, (bad, over) in zip(records, flags, strict=True) if bad or over]
