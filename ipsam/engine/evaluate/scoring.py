"""Scoring in worker processes, beside whatever makes the predictions.

Each image is scored by itself and means don't depend on the order of summation, so neither the number of workers nor
their speed changes a bit of the result.
"""

import heapq
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import count, groupby, repeat
from operator import itemgetter
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ipsam.data.saved_maps.map_pairs import SavedMap, SavedMaps
from ipsam.engine.evaluate.scores import Evaluation, Scored
from ipsam.engine.metrics import ImageScores, Pixels, Protocol, ground_truth, measure
from ipsam.engine.metrics.truth import GroundTruth
from ipsam.utils.worker_pool import WorkerPool

T = TypeVar("T")
R = TypeVar("R")
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
    scored = Scored(metrics=tuple(protocol.metrics))
    score = partial(_score, protocol=protocol)
    for image_name, image in _results(score, jobs, name, total, num_workers=num_workers, predicting=predicting):
        scored.add(image_name, image)
    return scored


def score_sets(name: str, sets: Sequence[Sequence[SavedMap]], *, protocol: Protocol, num_workers: int) -> list[Scored]:
    """Score the maps of several methods on one dataset, each sorted by stem, reading a mask that they share once.

    Errors as of ``score_images``.
    """

    stems = [maps.stems if isinstance(maps, SavedMaps) else [one.stem for one in maps] for maps in sets]

    def groups() -> Iterator[list[tuple[int, int]]]:
        """Yield the numbers of set and map of those with one stem, and so with one mask."""
        numbered = (zip(of_set, repeat(number), count()) for number, of_set in enumerate(stems))
        for _, group in groupby(heapq.merge(*numbered), itemgetter(0)):
            yield [(number, index) for _, number, index in group]

    scored = [Scored(metrics=tuple(protocol.metrics)) for _ in sets]
    total = sum(1 for _ in groups())
    jobs = ([sets[number][index] for number, index in group] for group in groups())
    results = _results(partial(_score_group, protocol=protocol), jobs, name, total, num_workers=num_workers)
    for group, images in zip(groups(), results, strict=True):
        for (number, index), image in zip(group, images, strict=True):
            scored[number].add(stems[number][index], image)
    return scored


def _results(
    score: Callable[[T], R], jobs: Iterable[T], name: str, total: int, *, num_workers: int, predicting: bool = False
) -> Iterator[R]:
    """Yield the results of jobs in their order, with a progress bar."""
    results: Iterable[R] = map(score, jobs)
    if num_workers:
        results = WorkerPool(
            score,
            num_workers=num_workers,
            chunk=CHUNK,
            ahead=AHEAD * CHUNK * num_workers,
            help_out=predicting,
            initializer=_be_nice if predicting else None,
        ).map(jobs)
    yield from tqdm(results, total=total, desc=name, unit="image", leave=False, disable=None)


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
    return name, _measure(name, prediction, mask, protocol)


def _score_group(maps: Sequence[SavedMap], *, protocol: Protocol) -> list[ImageScores]:
    mask, truth, images = None, None, []
    for saved in maps:
        name, prediction, mask = saved(mask)
        truth = truth or (ground_truth(mask, protocol) if len(maps) > 1 else None)
        images.append(_measure(name, prediction, mask, protocol, truth))
    return images


def _measure(
    name: str, prediction: Pixels, mask: NDArray[np.uint8], protocol: Protocol, truth: GroundTruth | None = None
) -> ImageScores:
    try:
        return measure(prediction, mask, protocol, truth)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _be_nice() -> None:
    if sys.platform != "win32":
        os.nice(NICENESS)
