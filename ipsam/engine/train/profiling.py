"""Profile of some optimiser steps: a trace for TensorBoard and Perfetto, and the slowest operators in the log."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.profiler import ProfilerAction, profile

NUM_ROWS = 15  # of the table of operators

logger = logging.getLogger(__name__)


class StepProfiler:
    """Profiler of the optimiser steps ``first`` to ``last``; of two epochs there are two traces.

    Args:
        steps: first and last step, from 1; empty: profile nothing.
        folder: receives the trace.
    """

    def __init__(self, steps: Sequence[int], folder: Path) -> None:
        self.first, self.last = steps or (0, 0)
        self.folder = folder
        self._step = self._begun = 0
        self._running: profile | None = None

    def before(self, step: int) -> None:
        """Start before the first step, mark each one, and stop after the last; to be called before each batch."""
        if step == self._step:
            return
        self._step = step
        if self._running is not None and step > self.last:
            self.stop()
        elif self._running is not None:
            self._running.step()
        elif self.first <= step <= self.last:
            self._running = profile(schedule=lambda _: ProfilerAction.RECORD)  # a schedule has the steps marked
            self._running.step_num = self._begun = step
            self._running.start()

    def stop(self) -> None:
        """Write the trace and log the table, if the profiler runs."""
        if self._running is None:
            return
        profiled, self._running = self._running, None
        profiled.stop()
        path = self.folder / f"steps_{self._begun}_to_{profiled.step_num}.pt.trace.json.gz"
        try:
            self.folder.mkdir(exist_ok=True)
            profiled.export_chrome_trace(str(path))
        except OSError as error:
            logger.warning("%s could not be written: %s", path, error.strerror or error)
        key = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = profiled.key_averages().table(sort_by=key, row_limit=NUM_ROWS, max_name_column_width=60)
        logger.info("slowest operators of the profiled steps; trace for TensorBoard and Perfetto: %s\n%s", path, table)
