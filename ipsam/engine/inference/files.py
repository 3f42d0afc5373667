"""Predictions for files: a picture, a folder tree, a glob or a video, written in the same structure."""

import glob
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ipsam.data.files import EXTENSIONS
from ipsam.data.user_images import to_rgb
from ipsam.engine.inference.prediction import KINDS, Prediction
from ipsam.engine.inference.predictor import Predictor, check_batch_size
from ipsam.engine.inference.video import VIDEOS, predict_video
from ipsam.utils.files import replacing

PICTURES = (*EXTENSIONS, ".webp")
NOT_READ = (".avif", ".gif", ".heic", ".heif", ".jp2")  # pictures to others
AHEAD = 4  # images read before they are needed
NUM_THREADS = 2  # that read and write beside the model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A file, and where each kind of picture of it goes."""

    source: Path
    targets: dict[str, Path]

    @property
    def done(self) -> bool:
        """Whether all of it is there already."""
        return all(path.exists() for path in self.targets.values())


@dataclass
class Outcome:
    """What became of the files.

    Attributes:
        written: how many were predicted.
        skipped: how many were there already.
        failed: why, for each other file.
    """

    written: int = 0
    skipped: int = 0
    failed: dict[Path, str] = field(default_factory=dict)


def find_jobs(source: str, output: Path, kinds: Sequence[str]) -> list[Job]:
    """Every picture and video of an input, with the files to be written.

    Args:
        source: a file; a folder, searched to any depth; or a glob such as ``photos/**/*.jpg``.
        output: folder of the predictions. With several kinds each has a folder of its own in it.
        kinds: some of ``KINDS``.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: nothing there is a picture or a video; a kind is unknown; or an input would be replaced.
    """
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(f"save takes some of {', '.join(KINDS)}, not {', '.join(map(str, kinds)) or 'nothing'}")
    root, files = _files(source)
    endings = (*PICTURES, *VIDEOS)
    inside = output.resolve()
    if root.resolve() in inside.parents:  # predictions of an earlier run are none of the input
        files = [file for file in files if inside not in file.resolve().parents]
    if others := sorted({file.suffix.lower() for file in files} & set(NOT_READ)):
        logger.warning("%s: files of %s are passed over; save them as PNG or JPEG", source, ", ".join(others))
    places = {file: file.relative_to(root).with_suffix("") for file in files if file.suffix.lower() in endings}
    if not places:
        raise ValueError(
            f"input={source}: no picture or video among {len(files)} files; known are {', '.join(endings)}"
        )
    for _ in range(2):  # a.jpg beside a.png; then a.jpg.png beside them
        times = Counter(places.values())
        places = {file: place.with_name(file.name) if times[place] > 1 else place for file, place in places.items()}
    jobs = []
    for file, place in sorted(places.items()):
        ending = ".mp4" if file.suffix.lower() in VIDEOS else ".png"
        folders = {kind: output / kind if len(kinds) > 1 else output for kind in kinds}
        jobs.append(Job(file, {kind: folder / f"{place}{ending}" for kind, folder in folders.items()}))
    own = {file.resolve() for file in files}
    for job in jobs:
        if clash := [path for path in job.targets.values() if path.resolve() in own]:
            raise ValueError(
                f"output={output}: {clash[0]} is an input itself, and would be replaced; name another folder"
            )
    return jobs


def predict_files(
    predictor: Predictor, jobs: Sequence[Job], *, batch_size: int = 1, overwrite: bool = False
) -> Outcome:
    """Predict every job that is not done; a file that can't be read or written does not keep the others back.

    Pictures are read before they are needed, and written while the next ones are predicted.

    Args:
        predictor: the model.
        jobs: as ``find_jobs`` gives them.
        batch_size: images, or frames of a video, that go through the model together.
        overwrite: also those that are done, which is told by the names of their files alone.

    Raises:
        ValueError: ``batch_size`` is no positive number, or the model is spoilt.
    """
    check_batch_size(batch_size)
    todo = [job for job in jobs if overwrite or not job.done]
    outcome = Outcome(skipped=len(jobs) - len(todo))
    pictures = [job for job in todo if job.source.suffix.lower() not in VIDEOS]
    videos = [job for job in todo if job.source.suffix.lower() in VIDEOS]
    with ThreadPoolExecutor(NUM_THREADS) as pool, tqdm(total=len(todo), unit="file", disable=None) as bar:

        def settle(job: Job, future: Future[None]) -> None:
            try:
                future.result()
                outcome.written += 1
            except (ValueError, OSError) as error:
                outcome.failed[job.source] = str(error)
            bar.update()

        reading = _read_ahead(pool, pictures, lambda job, error: settle(job, _failed(error)))
        read: deque[Job] = deque()
        saving: deque[tuple[Job, Future[None]]] = deque()
        for result in predictor.stream_decoded(_noted(reading, read), batch_size=batch_size):
            if len(saving) >= max(batch_size, NUM_THREADS):
                settle(*saving.popleft())
            job = read.popleft()
            saving.append((job, pool.submit(_save, job, result)))
        for one in saving:
            settle(*one)
        for job in videos:
            settle(job, pool.submit(predict_video, predictor, job.source, job.targets, batch_size=batch_size))
    return outcome


def _read_ahead(
    pool: ThreadPoolExecutor, jobs: Sequence[Job], complain: Callable[[Job, Exception], None]
) -> Iterator[tuple[Job, NDArray[np.uint8]]]:
    """The pictures in their order, some read in advance; those that can't be read are complained of."""
    waiting = iter(jobs)
    pending: deque[tuple[Job, Future[NDArray[np.uint8]]]] = deque()
    while True:
        for job in islice(waiting, AHEAD - len(pending)):
            pending.append((job, pool.submit(to_rgb, job.source)))
        if not pending:
            return
        job, future = pending.popleft()
        try:
            yield job, future.result()
        except (ValueError, OSError) as error:
            complain(job, error)


def _noted(pictures: Iterable[tuple[Job, NDArray[np.uint8]]], jobs: deque[Job]) -> Iterator[NDArray[np.uint8]]:
    """The pictures alone; of each the job is noted."""
    for job, picture in pictures:
        jobs.append(job)
        yield picture


def _failed(error: Exception) -> Future[None]:
    future: Future[None] = Future()
    future.set_exception(error)
    return future


def _save(job: Job, result: Prediction) -> None:
    for kind, path in job.targets.items():
        with replacing(path) as unfinished:  # so that half a file never passes for a finished one
            result.save(unfinished, kind)


def _files(source: str) -> tuple[Path, list[Path]]:
    """The folder that the files' places are relative to, and all files but hidden ones."""
    path = Path(source).expanduser()
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        below = [file for file in path.rglob("*") if file.is_file()]
        return path, [file for file in below if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    found = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
    if not found:
        raise FileNotFoundError(f"input={source}: no such file or folder, and no file that a glob would find")
    return Path(*_before_wildcard(path.parts)), found


def _before_wildcard(parts: Sequence[str]) -> Iterator[str]:
    for part in parts[:-1]:
        if glob.has_magic(part):
            return
        yield part
