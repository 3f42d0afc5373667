"""Scoring in worker processes, beside whatever makes the predictions, and in its process where they lag.

Every image is scored by itself and the means don't depend on the order of summation, so that neither the number of
processes nor who finishes first changes a bit of the result.
"""

import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ipsam.engine.evaluation import Evaluation
from ipsam.engine.metrics import ImageScores, Pixels, Protocol, means, measure
from ipsam.workers import begin_worker

# What is called for one image, mostly in a worker: gives its name, prediction (h, w) and mask (h, w).
Job = Callable[[], tuple[str, Pixels, NDArray[np.uint8]]]
TOGETHER = 4  # jobs a worker is handed at a time, since each handing over takes its time
AHEAD = 2  # handed over ahead for each worker: enough to keep it busy, few enough to fit into memory
NICENESS = 5  # by which workers yield to a process that predicts: where cores are scarce, all wait for that one


def score_set(name: str, jobs: Iterable[Job], total: int, *, protocol: Protocol, num_workers: int) -> Evaluation:
    """Score the predictions of one dataset: ``summary`` of ``score_images``."""
    return summary(name, score_images(name, jobs, total, protocol=protocol, num_workers=num_workers), protocol)


def score_images(
    name: str, jobs: Iterable[Job], total: int, *, protocol: Protocol, num_workers: int, predicting: bool = False
) -> list[tuple[str, ImageScores]]:
    """The name and the scores of each image of a dataset, in the order of the jobs.

    Args:
        name: of the dataset.
        jobs: one for each image, drawn from in this process, called in a worker; each must be picklable.
        total: how many, for the progress bar.
        protocol: by which rules.
        num_workers: processes; 0 scores in this one.
        predicting: the jobs are predictions, made in this process as they are drawn. Then the processes yield to it
            (but not on Windows), and while there are more to come it scores, too, rather than wait for them.

    Raises:
        OSError: a worker was killed.
        ValueError, OSError: as a job raises them, and for what ``measure`` refuses.
    """
    scored = _in_workers(jobs, protocol, num_workers, predicting) if num_workers else _in_turn(jobs, protocol)
    return list(tqdm(scored, total=total, desc=name, unit="image", leave=False, disable=None))


def summary(name: str, scored: Sequence[tuple[str, ImageScores]], protocol: Protocol) -> Evaluation:
    """What the images of a dataset come to."""
    rows: list[dict[str, str | float]] = [
        {"dataset": name, "name": image_name, **image.scores} for image_name, image in scored
    ]
    scores, curves = means([image for _, image in scored])
    return Evaluation({name: {"num_images": len(scored), **scores}}, rows, {name: curves}, protocol)


def _score(job: Job, protocol: Protocol) -> tuple[str, ImageScores]:
    name, prediction, mask = job()
    try:
        return name, measure(prediction, mask, protocol)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _score_some(jobs: Sequence[Job], protocol: Protocol) -> list[tuple[str, ImageScores]]:
    """What is handed over at a time."""
    try:
        return [_score(job, protocol) for job in jobs]
    except Exception as error:
        if isinstance(error, ValueError | OSError) and _can_be_handed_over(error):
            raise
        raise RuntimeError(f"in scoring:\n{traceback.format_exc()}") from error


def _can_be_handed_over(error: Exception) -> bool:
    """Whether it comes out in another process as it is."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)  # noqa: S301 (its own)
    except Exception:
        return False


class _Worker:
    """A process that scores what it is handed. It is called like a function, by a thread, which waits for it.

    Not a ``ProcessPoolExecutor``'s, which hangs where a worker is killed while maps are on their way to it.
    """

    def __init__(self, niceness: int) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_serve, args=(theirs, niceness), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is noticed here
        self._is_there = False

    def __call__(self, jobs: Sequence[Job], protocol: Protocol) -> list[tuple[str, ImageScores]]:
        try:
            if not self._is_there:  # until then Windows keeps the pipe open, whatever becomes of the process
                if self._connection not in wait([self._connection, self._process.sentinel]):
                    raise EOFError
                self._is_there = self._connection.recv()
            self._connection.send((jobs, protocol))
            scored, error, where = self._connection.recv()
        except (EOFError, OSError) as lost:
            raise OSError("a scoring process was killed, perhaps for want of memory; use fewer workers") from lost
        try:
            if error is not None:
                raise error from RuntimeError(f"in a scoring process:\n{where}")
        finally:
            del error  # which would keep this call's frame
        found: list[tuple[str, ImageScores]] = scored
        return found

    def end(self) -> None:
        """Whatever it is doing; who waits for it is told that it was killed."""
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, niceness: int) -> None:
    """What a worker does, until it is killed, as it is in the end."""
    if sys.platform != "win32":
        os.nice(niceness)
    begin_worker()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # to all processes: the main one knows what to do
    connection.send(True)
    while True:
        try:
            jobs, protocol = connection.recv()
        except EOFError:  # the main process is gone
            return
        try:
            answer: tuple[Any, Exception | None, str] = (_score_some(jobs, protocol), None, "")
        except Exception as error:
            answer = (None, error, traceback.format_exc())
        connection.send(answer)


def _in_turn(jobs: Iterable[Job], protocol: Protocol) -> Iterator[tuple[str, ImageScores]]:
    for job in jobs:
        yield _score(job, protocol)


def _in_workers(
    jobs: Iterable[Job], protocol: Protocol, num_workers: int, predicting: bool
) -> Iterator[tuple[str, ImageScores]]:
    """Results in the order of the jobs; while a job is waited for, others run and the next prediction can be made."""
    pending: deque[Future[list[tuple[str, ImageScores]]]] = deque()
    workers: list[_Worker] = []
    idle: SimpleQueue[_Worker] = SimpleQueue()

    def handed_over(some: Sequence[Job]) -> list[tuple[str, ImageScores]]:
        worker = idle.get()
        try:
            return worker(some, protocol)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(num_workers)
    try:
        for _ in range(num_workers):
            workers.append(_Worker(NICENESS if predicting else 0))
            idle.put(workers[-1])
        jobs = iter(jobs)
        while some := list(islice(jobs, TOGETHER)):
            if predicting and sum(not future.done() for future in pending) > AHEAD * num_workers:
                pending.append(_scored_here(some, protocol))
            else:
                pending.append(threads.submit(handed_over, some))
            while pending and (pending[0].done() or (not predicting and len(pending) > AHEAD * num_workers)):
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.end()
        threads.shutdown()


def _scored_here(jobs: Sequence[Job], protocol: Protocol) -> Future[list[tuple[str, ImageScores]]]:
    """As a worker would; an error is raised only in its turn."""
    future: Future[list[tuple[str, ImageScores]]] = Future()
    try:
        future.set_result(_score_some(jobs, protocol))
    except Exception as error:
        future.set_exception(error)
    return future
