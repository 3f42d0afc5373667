"""The most memory that a piece of work takes at a time."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

GB = 1 << 30


class Peak:
    """Follows what is allocated between ``start`` and ``stop``.

    Of a CUDA device by its allocator's own count; else by the allocations and releases of CPU memory that torch's
    profiler records, which slows the work down.

    Args:
        device: whose memory.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before = 0
        self._profile: profile | None = None

    def start(self) -> None:
        """From here on."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        else:
            self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
            self._profile.start()

    def stop(self) -> int:
        """Bytes by which what was allocated since ``start`` exceeded, at its highest, what was there before."""
        if self._profile is None:
            torch.cuda.synchronize(self.device)
            return torch.cuda.max_memory_allocated(self.device) - self._before
        self._profile.stop()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.json"
            self._profile.export_chrome_trace(str(path))
            events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
        changes = [event for event in events if event["name"] == "[memory]"]
        highest = total = 0
        for change in sorted(changes, key=lambda event: event["args"]["Ev Idx"]):
            total += change["args"]["Bytes"]
            highest = max(highest, total)
        return highest


def peak_of(task: Callable[[], object], device: torch.device) -> int:
    """Bytes that a call of a task takes at its highest, beyond what was there before."""
    peak = Peak(device)
    peak.start()
    task()
    return peak.stop()


def held_by(model: nn.Module, *, trains: bool = False) -> int:
    """Bytes of a model's parameters and buffers; with ``trains`` also of AdamW's two moments of what trains."""
    tensors = [*model.parameters(), *model.buffers()]
    moments = [parameter for parameter in model.parameters() if parameter.requires_grad] if trains else []
    return sum(tensor.nbytes for tensor in tensors) + 2 * sum(tensor.nbytes for tensor in moments)
