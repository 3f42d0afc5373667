"""Seconds and memory of training steps, told by when a loop asks for its next image."""

import time
from collections.abc import Callable, Iterator
from statistics import median

import torch

from ipsam.data.sources import Sample, Source
from ipsam.tools.benchmark.memory import Peak
from ipsam.tools.benchmark.timing import wait_for


class Watch:
    """Called by a data set whenever it is asked for an item, by a loop that asks in its own process.

    The time from one step's first request to the next step's is that of a step and of fetching a batch. A GPU is waited
    for at the first and the last request that count alone, so that the loop runs as it would unwatched; there the mean
    of the steps is told, elsewhere the median.

    Args:
        batch_size: requests a step.
        device: where the loop computes.
        warm_up: steps that don't count.
        num_steps: steps that do.
        measures: follow the memory of the step after them.

    Attributes:
        peak: bytes that this step took at its highest, beyond what was there before it; None where not followed.
    """

    def __init__(
        self, *, batch_size: int, device: torch.device, warm_up: int, num_steps: int, measures: bool = False
    ) -> None:
        self.batch_size = batch_size
        self.device = device
        self.first = (1 + warm_up) * batch_size  # the first batch may be fetched ahead of all work
        self.last = self.first + num_steps * batch_size
        self.peak: int | None = None
        self._memory = Peak(device) if measures else None
        self._requests = 0
        self._times: list[float] = []

    def __call__(self) -> None:
        """An item is asked for."""
        request = self._requests
        self._requests += 1
        if request % self.batch_size:
            return
        if request in (self.first, self.last):
            wait_for(self.device)
        if self.first <= request <= self.last:
            self._times.append(time.perf_counter())
        if self._memory is not None and request == self.last:
            self._memory.start()
        if self._memory is not None and request == self.last + self.batch_size:
            self.peak = self._memory.stop()

    @property
    def seconds(self) -> float:
        """Of a step."""
        steps = [after - before for before, after in zip(self._times, self._times[1:], strict=False)]
        return sum(steps) / len(steps) if self.device.type == "cuda" else median(steps)

    @property
    def num_items(self) -> int:
        """How many a data set must have: two steps more than are looked at, as a loop may fetch ahead."""
        return self.last + 3 * self.batch_size


class WatchedSource:
    """A source that calls ``asked`` whenever an item is asked for."""

    def __init__(self, source: Source, *, asked: Callable[[], object]) -> None:
        self.source = source
        self.asked = asked

    def __len__(self) -> int:
        return len(self.source)

    def read(self, index: int, epoch: int) -> Sample:
        """Sample ``index``."""
        self.asked()
        return self.source.read(index, epoch)

    def names(self) -> list[str]:
        """Those of the source."""
        return self.source.names()

    def listing(self) -> Iterator[str]:
        """That of the source."""
        return self.source.listing()
