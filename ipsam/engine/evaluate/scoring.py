"""Scoring in worker processes, beside whatever makes the predictions.

Each image is scored by itself and means don't depend on the order of summation, so neither the number of workers nor
their speed changes a bit of the result.
"""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.metrics import ImageScores, Pixels, Protocol, means, measure
from ipsam.utils.worker_pool import WorkerPool

CHUNK = 4  # jobs sent to a worker at once
AHEAD = 2  # chunks drawn ahead for each worker: enough to keep it busy, few enough to fit into memory
NICENESS = 5  # of workers beside a model: where cores are scarce, everything waits for the predictions

# A call that gives an image's name, prediction (h, w) and mask (h, w), mostly in another process.
Job = Callable[[], tuple[str, Pixels, NDArray[np.uint8]]]


def score_set(name: str, jobs: Iterable[Job], total: int, *, protocol: Protocol, num_workers: int) -> Evaluation:
    """Score the predictions of one dataset, see ``score_images``."""
    return summary(name, score_images(name, jobs, total, protocol=protocol, num_workers=num_workers), protocol)


def score_images(
    name: str, jobs: Iterable[Job], total: int, *, protocol: Protocol, num_workers: int, predicting: bool = False
) -> list[tuple[str, ImageScores]]:
    """Score each image of a dataset; return names and scores in the order of the jobs.

    Args:
        name: dataset, for the progress bar.
        jobs: one for each image, drawn in this process and called in a worker; each must be picklable.
        total: number of jobs, for the progress bar.
        protocol: rules of scoring.
        num_workers: number of worker processes; 0 scores in this process.
        predicting: the jobs are predictions that this process makes as they are drawn. The workers then yield to it
            (not on Windows), and it scores, too, while they lag behind.

    Raises:
        OSError: a worker was killed.
        ValueError, OSError: a job or ``measure`` failed.
    """
    score = partial(_score, protocol=protocol)
    if num_workers:
        pool: WorkerPool[Job, tuple[str, ImageScores]] = WorkerPool(
            score,
            num_workers=num_workers,
            chunk=CHUNK,
            ahead=AHEAD * CHUNK * num_workers,
            help_out=predicting,
            initializer=_be_nice if predicting else None,
        )
        scored = pool.map(jobs)
    else:
        scored = map(score, jobs)
    return list(tqdm(scored, total=total, desc=name, unit="image", leave=False, disable=None))


def summary(name: str, scored: Sequence[tuple[str, ImageScores]], protocol: Protocol) -> Evaluation:
    """Aggregate the scores of a dataset's images."""
    rows: list[dict[str, str | float]] = [
        {"dataset": name, "name": image_name, **image.scores} for image_name, image in scored
    ]
    scores, curves = means([image for _, image in scored])
    return Evaluation({name: {"num_images": len(scored), **scores}}, rows, {name: curves}, protocol)


def _score(job: Job, *, protocol: Protocol) -> tuple[str, ImageScores]:
    name, prediction, mask = job()
    try:
        return name, measure(prediction, mask, protocol)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _be_nice() -> None:
    if sys.platform != "win32":
        os.nice(NICENESS)
