"""Predictions for files: a picture, a folder tree, a glob or a video, written in the same structure."""

import glob
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, takewhile, tee
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ipsam.data.files import EXTENSIONS, NOT_READ
from ipsam.data.user_images import to_rgb
from ipsam.engine.inference.prediction import KINDS, Prediction
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.inference.video import VIDEOS, predict_video
from ipsam.utils.files import replacing

AHEAD = 4  # pictures read in advance
NUM_THREADS = 2  # that read and write beside the model

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileJob:
    """An input file, and the output file of each kind of picture."""

    source: Path
    targets: dict[str, Path]


@dataclass
class Outcome:
    """Numbers of predicted files and of skipped ones, whose output existed; and the reason for each failed file."""

    written: int = 0
    skipped: int = 0
    failed: dict[Path, str] = field(default_factory=dict)


def find_jobs(source: str, output: Path, kinds: Sequence[str]) -> list[FileJob]:
    """Find every picture and video of an input, and name the output files.

    Args:
        source: a file; a folder, searched to any depth; or a glob such as ``photos/**/*.jpg``.
        output: folder of the predictions, with a folder for each kind if there are several.
        kinds: some of ``KINDS``.

    Raises:
        FileNotFoundError: the input does not exist.
        ValueError: the input holds no picture or video; a kind is unknown; or an input file would be overwritten.
    """
    if not kinds or set(kinds) - set(KINDS):
        raise ValueError(f"save takes some of {', '.join(KINDS)}, not {', '.join(map(str, kinds)) or 'nothing'}")
    root, files = _files(source)
    inside = output.resolve()
    if root.resolve() in inside.parents:  # predictions of an earlier run
        files = [file for file in files if inside not in file.resolve().parents]
    if others := sorted({file.suffix.lower() for file in files} & set(NOT_READ)):
        logger.warning("%s: skipping files of %s; save them as PNG or JPEG", source, ", ".join(others))
    endings = (*EXTENSIONS, *VIDEOS)
    names = {file: file.relative_to(root).with_suffix("") for file in files if file.suffix.lower() in endings}
    if not names:
        raise ValueError(
            f"input={source}: no picture or video among {len(files)} files; known are {', '.join(endings)}"
        )
    for _ in range(2):  # a.jpg beside a.png; then a.jpg.png beside them
        times = Counter(names.values())
        names = {file: name.with_name(file.name) if times[name] > 1 else name for file, name in names.items()}
    folders = {kind: output / kind if len(kinds) > 1 else output for kind in kinds}
    own, jobs = {file.resolve() for file in files}, []
    for file, name in sorted(names.items()):
        ending = ".mp4" if file.suffix.lower() in VIDEOS else ".png"
        jobs.append(FileJob(file, {kind: folder / f"{name}{ending}" for kind, folder in folders.items()}))
        if clash := [path for path in jobs[-1].targets.values() if path.resolve() in own]:
            raise ValueError(f"output={output}: {clash[0]} is an input and would be overwritten; name another folder")
    return jobs


def predict_files(
    predictor: Predictor, jobs: Sequence[FileJob], *, batch_size: int = 1, overwrite: bool = False
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
    videos = [job for job in todo if job.source.suffix.lower() in VIDEOS]
    pictures = [job for job in todo if job.source.suffix.lower() not in VIDEOS]
    with ThreadPoolExecutor(NUM_THREADS) as pool, tqdm(total=len(todo), unit="file", disable=None) as bar:

        def finish(job: FileJob, future: Future) -> None:
            try:
                future.result()
                outcome.written += 1
            except (ValueError, OSError) as error:
                outcome.failed[job.source] = str(error)
            bar.update()

        jobs_read, images = tee(_read_ahead(pool, pictures, finish))
        predictions = predictor.stream_decoded((image for _, image in images), batch_size=batch_size)
        saving: deque[tuple[FileJob, Future]] = deque()
        for prediction, (job, _) in zip(predictions, jobs_read, strict=True):
            if len(saving) >= max(batch_size, NUM_THREADS):
                finish(*saving.popleft())
            saving.append((job, pool.submit(_save, job, prediction)))
        for job, future in saving:
            finish(job, future)
        for job in videos:
            finish(job, pool.submit(predict_video, predictor, job.source, job.targets, batch_size=batch_size))
    return outcome


def _read_ahead(
    pool: ThreadPoolExecutor, jobs: Sequence[FileJob], fail: Callable[[FileJob, Future], None]
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
        with replacing(path) as part:  # a half-written file would count as done
            prediction.save(part, kind)


def _files(source: str) -> tuple[Path, list[Path]]:
    """Return the folder that output paths are relative to, and all files but hidden ones."""
    path = Path(source).expanduser()
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        below = [file for file in path.rglob("*") if file.is_file()]
        return path, [file for file in below if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    found = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
    if not found:
        raise FileNotFoundError(f"input={source}: no such file or folder, and no file matches it as a glob")
    return Path(*takewhile(lambda part: not glob.has_magic(part), path.parts[:-1])), found
