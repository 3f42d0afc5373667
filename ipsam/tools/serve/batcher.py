"""Queue in front of a model: a thread takes the jobs that wait as one batch."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")
SMOOTHING = 0.8  # share of the earlier estimate of a job's time

logger = logging.getLogger(__name__)


class Batcher(Generic[J, R]):
    """Thread that answers waiting jobs in batches, in the order of their arrival.

    It never waits for a batch to fill up: as long as it is idle, a job is a batch of its own.

    Args:
        work: answers a batch in its order; an exception in place of a result is its job's alone.
        batch_size: most jobs of a batch.
        observe: called with the size of each batch.
    """

    def __init__(
        self,
        work: Callable[[Sequence[J]], Sequence[R | Exception]],
        *,
        batch_size: int,
        observe: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.work, self.batch_size, self.observe = work, batch_size, observe
        self.seconds = 1.0  # that a job takes
        self._queue: SimpleQueue[tuple[J, Future[R]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, job: J) -> Future[R]:
        """Queue a job; the caller limits how many wait."""
        future: Future[R] = Future()
        self._queue.put((job, future))
        return future

    def is_alive(self) -> bool:
        """Return whether jobs are still answered."""
        return self._thread.is_alive()

    def seconds_for(self, num_jobs: int) -> int:
        """Estimate the whole seconds, at least one, until so many jobs are done."""
        return max(1, math.ceil(self.seconds * num_jobs))

    def close(self) -> None:
        """Answer the jobs that wait, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        closing = False
        while not closing:
            batch = [self._queue.get()]
            while batch[-1] is not None and len(batch) < self.batch_size:
                try:
                    batch.append(self._queue.get_nowait())
                except Empty:
                    break
            closing = batch[-1] is None
            if jobs := [one for one in batch if one is not None and one[1].set_running_or_notify_cancel()]:
                self._answer(jobs)

    def _answer(self, jobs: list[tuple[J, "Future[R]"]]) -> None:
        start = time.perf_counter()
        answers: Sequence[R | Exception]
        try:
            answers = self.work([job for job, _ in jobs])
            assert len(answers) == len(jobs), "an answer for each job"
        except Exception as error:
            logger.exception("a batch of %d failed", len(jobs))
            answers = [error] * len(jobs)
        for (_, future), answer in zip(jobs, answers, strict=True):
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        self.observe(len(jobs))
        seconds = (time.perf_counter() - start) / len(jobs)
        self.seconds = SMOOTHING * self.seconds + (1 - SMOOTHING) * seconds
