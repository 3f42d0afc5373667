"""Examining many files in worker processes, so that no file holds up or brings down the others.

A file may crash a decoder or keep it busy for hours. Such a file is reported, and the others are still read.
"""

import os
from collections.abc import Sequence

from tqdm import tqdm

from ipsam.tools.prepare.doctor.examine import File, FileFacts, examine
from ipsam.utils.worker_pool import WorkerPool

TOGETHER = 16  # files sent to a worker at once
SECONDS = 120.0  # for one file; the largest files of a dataset take a few


def examine_all(files: Sequence[File], *, num_workers: int) -> dict[File, FileFacts]:
    """Examine each file, with a progress bar, in ``num_workers`` processes; 0 for this process alone."""
    found = map(examine, files)
    if num_workers and files:
        pool: WorkerPool[File, FileFacts] = WorkerPool(
            examine,
            num_workers=min(num_workers, len(files)),
            chunk=TOGETHER,
            timeout=SECONDS,
            lost=_given_up,
            initializer=_silence_decoders,
        )
        found = pool.map(files)  # type: ignore[assignment]
    bar = tqdm(found, total=len(files), desc="reading", unit="file", leave=False, disable=None)
    return {facts.file: facts for facts in bar}


def _given_up(file: File, reason: str) -> FileFacts:
    return FileFacts(file).failed(f"{file.path}: {reason}; fetch the file again or leave it out")


def _silence_decoders() -> None:
    """Discard what decoders print about broken files; the facts say it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
