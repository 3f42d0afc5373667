"""Scoring in worker processes, beside whatever makes the predictions.

Each image is scored by itself and means don't depend on the order of summation, so neither the number of workers nor
their speed changes a bit of the result.
"""

import os
import sys
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ipsam.engine.evaluate.scores import Evaluation, Scored
from ipsam.engine.metrics import ImageScores, Pixels, Protocol, measure
from ipsam.utils.worker_pool import WorkerPool

CHUNK = 4  # jobs sent to a worker at once
AHEAD = 2  # chunks drawn ahead for each worker: enough to keep it busy, few enough to fit into memory
NICENESS = 5  # of workers beside a model: where cores are scarce, everything waits for the predictions
TOLERANCE = 1e-3  # by which E may exceed 1 unsaid; more needs an image of less than 1,000 pixels
E_ABOVE_1 = "E-measure above 1 (by its definition, a perfect map of n pixels has n / (n - 1))"

# A call that gives an image's name, prediction (h, w) and mask (h, w), mostly in another process.
Job = Callable[[], tuple[str, Pixels, NDArray[np.uint8]]]


def score_set(name: str, jobs: Iterable[Job], total: int, *, protocol: Protocol, num_workers: int) -> Evaluation:
    """Score the predictions of one dataset, see ``score_images``."""
    return summary(name, score_images(name, jobs, total, protocol=protocol, num_workers=num_workers), protocol)


def score_images(
    name: str, jobs: Iterable[Job], total: int, *, protocol: Protocol, num_workers: int, predicting: bool = False
) -> Scored:
    """Score each image of a dataset, in the order of the jobs.

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
    results: Iterable[tuple[str, ImageScores]] = map(score, jobs)
    if num_workers:
        pool: WorkerPool[Job, tuple[str, ImageScores]] = WorkerPool(
            score,
            num_workers=num_workers,
            chunk=CHUNK,
            ahead=AHEAD * CHUNK * num_workers,
            help_out=predicting,
            initializer=_be_nice if predicting else None,
        )
        results = pool.map(jobs)
    scored = Scored(metrics=tuple(protocol.metrics))
    for image_name, image in tqdm(results, total=total, desc=name, unit="image", leave=False, disable=None):
        scored.add(image_name, image)
    return scored


def summary(name: str, scored: Scored, protocol: Protocol) -> Evaluation:
    """Aggregate the scores of a dataset's images."""
    scores, curves = scored.means()
    remarks = dict(sorted(scored.remarks.items()))
    if num_above_1 := sum(score > 1 + TOLERANCE for score in scored.of("em_max")):
        remarks[E_ABOVE_1] = num_above_1
    datasets = {name: {"num_images": len(scored), **scores}}
    return Evaluation(datasets, {name: scored}, {name: curves}, protocol, {name: remarks} if remarks else {})


def _score(job: Job, *, protocol: Protocol) -> tuple[str, ImageScores]:
    name, prediction, mask = job()
    try:
        return name, measure(prediction, mask, protocol)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _be_nice() -> None:
    if sys.platform != "win32":
        os.nice(NICENESS)
