"""Scoring in worker processes, beside whatever makes the predictions, and in its process where they lag.

Every image is scored by itself and the means don't depend on the order of summation, so that neither the number of
processes nor who finishes first changes a bit of the result.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue

from tqdm import tqdm

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.evaluate.scoring_process import Job, ScoringProcess, score, score_some
from ipsam.engine.metrics import ImageScores, Protocol, means

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


def _in_turn(jobs: Iterable[Job], protocol: Protocol) -> Iterator[tuple[str, ImageScores]]:
    for job in jobs:
        yield score(job, protocol)


def _in_workers(
    jobs: Iterable[Job], protocol: Protocol, num_workers: int, predicting: bool
) -> Iterator[tuple[str, ImageScores]]:
    """Results in the order of the jobs; while a job is waited for, others run and the next prediction can be made."""
    pending: deque[Future[list[tuple[str, ImageScores]]]] = deque()
    workers: list[ScoringProcess] = []
    idle: SimpleQueue[ScoringProcess] = SimpleQueue()

    def handed_over(some: Sequence[Job]) -> list[tuple[str, ImageScores]]:
        worker = idle.get()
        try:
            return worker(some, protocol)
        finally:
            idle.put(worker)

    threads = ThreadPoolExecutor(num_workers)
    try:
        for _ in range(num_workers):
            workers.append(ScoringProcess(NICENESS if predicting else 0))
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
        future.set_result(score_some(jobs, protocol))
    except Exception as error:
        future.set_exception(error)
    return future
