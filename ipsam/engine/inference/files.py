"""Predict pictures and videos, reading and writing beside the model."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby, islice, tee
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ipsam.data.decoding.limits import MAX_PIXELS
from ipsam.data.images import image_size
from ipsam.data.user_images import to_rgb
from ipsam.engine.inference.base import BasePredictor
from ipsam.engine.inference.jobs import FileJob
from ipsam.engine.inference.prediction import Prediction

AHEAD = 4  # pictures read in advance
NUM_THREADS = 2  # that read and write beside the model
MAX_HELD = 150_000_000  # pixels in memory at a time, of eight bytes and more


@dataclass
class Outcome:
    """Numbers of predicted files and of skipped ones, whose output existed; and the reason for each failed file."""

    written: int = 0
    skipped: int = 0
    failed: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def united(cls, shares: Sequence["Outcome"]) -> "Outcome":
        """Add up the outcomes of several processes."""
        failed = {path: reason for one in shares for path, reason in one.failed.items()}
        return cls(sum(one.written for one in shares), sum(one.skipped for one in shares), failed)


def predict_files(
    predictor: BasePredictor, jobs: Sequence[FileJob], *, batch_size: int = 1, overwrite: bool = False
) -> Outcome:
    """Predict every job that is not done; record a file that cannot be read or written and continue.

    Pictures are read ahead, and written while the next ones are predicted.

    Args:
        batch_size: images, or frames of a video, in one forward pass.
        overwrite: predict jobs that are done, too. A job is done if its output files exist, whatever they hold.

    Raises:
        ValueError: ``batch_size`` is not a positive number, or the model's logits are not finite.
    """
    todo = [job for job in jobs if overwrite or not all(path.exists() for path in job.targets.values())]
    outcome = Outcome(skipped=len(jobs) - len(todo))
    with ThreadPoolExecutor(NUM_THREADS) as pool, tqdm(total=len(todo), unit="file", disable=None) as bar:

        def finish(job: FileJob, future: Future) -> None:
            try:
                future.result()
                outcome.written += 1
            except OSError as error:
                written = error.filename is not None and error.filename != str(job.source)
                outcome.failed[job.source] = (
                    f"{error.filename}: can't be written ({error.strerror})" if written else str(error)
                )
            except ValueError as error:
                outcome.failed[job.source] = str(error)
            bar.update()

        at_once = max(batch_size, NUM_THREADS)  # that are read, predicted or saved
        for _, pictures in groupby((job for job in todo if not job.is_video), _groups(AHEAD + 3 * at_once)):
            jobs_read, images = tee(_read_ahead(pool, pictures, finish))
            predictions = predictor.stream_decoded((image for _, image in images), batch_size=batch_size)
            saving: deque[tuple[FileJob, Future]] = deque()
            for prediction, (job, _) in zip(predictions, jobs_read, strict=True):
                if len(saving) >= at_once:
                    finish(*saving.popleft())
                saving.append((job, pool.submit(_save, job, prediction)))
            for job, future in saving:
                finish(job, future)
        for job in todo:
            if job.is_video:
                from ipsam.engine.inference.video import predict_video  # only now, as PyAV takes a while to import

                finish(job, pool.submit(predict_video, predictor, job.source, job.targets, batch_size=batch_size))
    return outcome


def _groups(num: int) -> Callable[[FileJob], int]:
    """Number groups of consecutive pictures, of which any ``num`` have at most ``MAX_HELD`` pixels together."""
    held: deque[int] = deque(maxlen=num)
    group = 0

    def group_of(job: FileJob) -> int:
        nonlocal group
        try:
            height, width = image_size(job.source)
            pixels = height * width
        except (ValueError, OSError):  # broken, or a format that only the decoder knows
            pixels = MAX_PIXELS
        if sum(held) + pixels > MAX_HELD:
            held.clear()
            group += 1
        held.append(pixels)
        return group

    return group_of


def _read_ahead(
    pool: ThreadPoolExecutor, jobs: Iterable[FileJob], fail: Callable[[FileJob, Future], None]
) -> Iterator[tuple[FileJob, NDArray[np.uint8]]]:
    """Yield the pictures in their order, some read in advance; call ``fail`` for those that cannot be read."""
    waiting = iter(jobs)
    pending: deque[tuple[FileJob, Future[NDArray[np.uint8]]]] = deque()
    while True:
        pending.extend((job, pool.submit(to_rgb, job.source)) for job in islice(waiting, AHEAD - len(pending)))
        if not pending:
            return
        job, future = pending.popleft()
        if future.exception() is None:
            yield job, future.result()
        else:
            fail(job, future)


def _save(job: FileJob, prediction: Prediction) -> None:
    for kind, path in job.targets.items():
        prediction.save(path, kind, file_name=str(Path(job.name).with_name(job.source.name).as_posix()))
