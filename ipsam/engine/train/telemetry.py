"""Telemetry of a run: losses, speed, memory and remaining time, which only log steps wait for."""

import logging
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from ipsam.engine.runs.trackers import Trackers
from ipsam.engine.train.memory import GB
from ipsam.engine.train.profiling import StepProfiler
from ipsam.engine.train.progress import Progress

INTERVAL = 10.0  # least seconds between log lines

logger = logging.getLogger(__name__)


@dataclass
class Window:
    """Time of some steps, the part of it that waited for data, and the images of this process."""

    begun: float = field(default_factory=perf_counter)
    waited: float = 0.0
    num_images: int = 0

    @property
    def seconds(self) -> float:
        """Time since the window began."""
        return perf_counter() - self.begun

    @property
    def waiting(self) -> float:
        """Share of the time that waited for data."""
        return self.waited / self.seconds

    def add(self, waited: float, num_images: int) -> None:
        """Add a batch."""
        self.waited += waited
        self.num_images += num_images


class Telemetry:
    """Measurements of a run, for its trackers, its log and the progress bar.

    Args:
        accelerator: connection to the other processes.
        progress: position of the run; kept up to date by the training loop.
        num_steps: optimiser steps of the run.
        profiler: called at each step.
    """

    def __init__(
        self,
        trackers: Trackers,
        accelerator: Accelerator,
        progress: Progress,
        num_steps: int,
        profiler: StepProfiler,
    ) -> None:
        self.trackers, self.accelerator, self.progress, self.num_steps = trackers, accelerator, progress, num_steps
        self.profiler = profiler
        shown = None if accelerator.is_main_process else True  # None: on a terminal only; a file gets log lines
        self.bar = tqdm(total=num_steps, initial=progress.step, unit="step", disable=shown, mininterval=0.2)
        self.timing = ""  # of the last epoch, for its line in the log
        self._begun, self._first = perf_counter(), progress.step
        self._window, self._line = Window(), -INTERVAL

    def timed(self, loader: DataLoader[Any]) -> Iterator[Any]:
        """Yield an epoch's batches, and measure its steps and the wait for each batch; on an error end the workers."""
        first, epoch = self.progress.step, Window()
        self._window = Window()
        try:
            self.profiler.before(self.progress.step + 1)
            asked = perf_counter()
            for batch in loader:
                waited = perf_counter() - asked
                for window in (epoch, self._window):
                    window.add(waited, len(batch["image"]))
                yield batch
                self.profiler.before(self.progress.step + 1)
                asked = perf_counter()
            step = epoch.seconds / max(1, self.progress.step - first)
            self.timing = f"; {step:.3g} s a step, {epoch.waiting:.0%} of it waiting for data"
        except BaseException:  # also of the loop's body, which closes this generator
            _end_workers(loader)
            raise
        finally:
            self.profiler.stop()

    def log(self, losses: Mapping[str, Tensor], norm: Tensor, *, lr: float) -> None:
        """Log an optimiser step to the trackers and the bar, and at most every ten seconds to the log.

        This waits for the device.
        """
        read = torch.stack([*(loss.detach().float() for loss in losses.values()), torch.as_tensor(norm).float()])
        *values, gradient = read.tolist()
        named, step = dict(zip(losses, values, strict=True)), self.progress.step
        window, self._window = self._window, Window()
        left = (perf_counter() - self._begun) / (step - self._first) * (self.num_steps - step)
        speed = {
            "images_per_second": window.num_images * self.accelerator.num_processes / window.seconds,
            "waiting_for_data": window.waiting,
            "peak_memory_gb": peak_memory(self.accelerator.device) / GB,
            "hours_left": left / 3600,
        }
        skipped = self.progress.skipped
        self.trackers.log("loss", named, step)
        self.trackers.log("optimiser", {"lr": lr, "gradient_norm": gradient, "skipped": skipped}, step)
        self.trackers.log("speed", speed, step)
        self.bar.set_postfix(epoch=self.progress.epoch + 1, loss=f"{named['total']:.4f}", lr=f"{lr:.1e}", refresh=False)
        if self.accelerator.is_main_process and perf_counter() - self._line >= INTERVAL:
            self._line = perf_counter()
            logger.info(
                "step %d of %d: loss %.4f, learning rate %.1e, gradient norm %.3g, %.3g images/s, %.0f%% of the time "
                "waiting for data, peak memory %.2f GB, %d skipped, %s left",
                *(step, self.num_steps, named["total"], lr, gradient, speed["images_per_second"]),
                *(100 * speed["waiting_for_data"], speed["peak_memory_gb"], skipped, tqdm.format_interval(left)),
            )


def peak_memory(device: torch.device) -> int:
    """Return the bytes that a GPU's allocator, or else this process, has held at most."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _end_workers(loader: DataLoader[Any]) -> None:
    """End a loader's workers, which an error and its traceback keep alive.

    The garbage collector would close their queues before torch tells them to end, and so wait for them in vain.
    """
    iterator: Any = getattr(loader, "base_dataloader", loader)._iterator  # accelerate's loader holds torch's
    if iterator is not None:
        iterator._shutdown_workers()
