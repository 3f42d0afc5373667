"""Scoring in worker processes, beside whatever makes the predictions, and in its process where they lag.

Every image is scored by itself and the means don't depend on the order of summation, so that neither the number of
processes nor who finishes first changes a bit of the result.
"""

import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

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
    except (ValueError, OSError):
        raise
    except Exception as error:  # another kind might not survive the way to the other process
        raise RuntimeError(f"in scoring:\n{traceback.format_exc()}") from error


def _begin(niceness: int) -> None:
    """Set up a worker."""
    if sys.platform != "win32":
        os.nice(niceness)
    begin_worker()


def _in_turn(jobs: Iterable[Job], protocol: Protocol) -> Iterator[tuple[str, ImageScores]]:
    for job in jobs:
        yield _score(job, protocol)


def _in_workers(
    jobs: Iterable[Job], protocol: Protocol, num_workers: int, predicting: bool
) -> Iterator[tuple[str, ImageScores]]:
    """Results in the order of the jobs; while a job is waited for, others run and the next prediction can be made."""
    pending: deque[Future[list[tuple[str, ImageScores]]]] = deque()
    pool = ProcessPoolExecutor(num_workers, initializer=_begin, initargs=(NICENESS if predicting else 0,))
    try:
        jobs = iter(jobs)
        while some := list(islice(jobs, TOGETHER)):
            if predicting and sum(not future.done() for future in pending) > AHEAD * num_workers:
                pending.append(_scored_here(some, protocol))
            else:
                pending.append(pool.submit(_score_some, some, protocol))
            while pending and (pending[0].done() or (not predicting and len(pending) > AHEAD * num_workers)):
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool as error:
        raise OSError("a scoring process was killed, perhaps for want of memory; use fewer workers") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _scored_here(jobs: Sequence[Job], protocol: Protocol) -> Future[list[tuple[str, ImageScores]]]:
    """As a worker would; an error is raised only in its turn."""
    future: Future[list[tuple[str, ImageScores]]] = Future()
    try:
        future.set_result(_score_some(jobs, protocol))
    except Exception as error:
        future.set_exception(error)
    return future
