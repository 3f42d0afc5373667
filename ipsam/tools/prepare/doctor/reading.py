"""Examining many files in worker processes, none of which may hold up or bring down the others.

A file may take a decoder hours, or crash it. So each process is handed a few files, reports on one after the other, and
is watched: the one it was at when it died, or was stopped for taking too long, is known and is reported as such.
"""

import multiprocessing
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from tqdm import tqdm

from ipsam.tools.prepare.doctor.examine import File, FileFacts, examine
from ipsam.utils.workers import begin_worker

TOGETHER = 16  # files a process is handed at a time, as long as there are enough for all
SECONDS = 120.0  # for one file; the largest that a dataset might hold takes a few


def examine_all(files: Sequence[File], *, num_workers: int) -> dict[File, FileFacts]:
    """What each file is found to be, with a progress bar; `num_workers` processes, 0 for none but this one."""
    found = map(examine, files) if num_workers == 0 else _in_workers(files, num_workers)
    bar = tqdm(found, total=len(files), desc="reading", unit="file", leave=False, disable=None)
    return {facts.file: facts for facts in bar}


def _in_workers(files: Sequence[File], num_workers: int) -> Iterator[FileFacts]:
    waiting = deque(files)
    workers: list[_Worker] = []
    try:
        while waiting or any(worker.files for worker in workers):
            while len(workers) < min(num_workers, len(waiting)):
                workers.append(_Worker())
            num_together = max(1, min(TOGETHER, len(waiting) // num_workers))
            for worker in workers:
                if waiting and not worker.files:
                    worker.begin([waiting.popleft() for _ in range(min(num_together, len(waiting)))])
            ready = wait([worker.connection for worker in workers if worker.files], timeout=1)
            for worker in list(workers):
                facts = worker.report() if worker.connection in ready else worker.overdue()
                if facts is not None:
                    yield facts
                if worker.ended:
                    workers.remove(worker)
                    waiting.extendleft(reversed(worker.files))
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process that examines files, and those it still has to."""

    def __init__(self) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=_work, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()  # so that the process's own is the only one, and its death ends the connection
        self.files: deque[File] = deque()
        self.since = time.monotonic()
        self.ended = False

    def begin(self, files: Sequence[File]) -> None:
        """Hand it files."""
        self.files.extend(files)
        self.since = time.monotonic()
        with suppress(OSError):  # it is dead already, as the next look at the connection will tell
            self.connection.send(files)

    def report(self) -> FileFacts | None:
        """What it says of its first file; or that it died of it."""
        try:
            facts: FileFacts = self.connection.recv()
        except (EOFError, OSError):
            self.end()
            return self._given_up(f"the process that read it was killed (exit status {self.process.exitcode})")
        self.files.popleft()
        self.since = time.monotonic()
        return facts

    def overdue(self) -> FileFacts | None:
        """That its first file has taken too long, if it has."""
        if not self.files or time.monotonic() - self.since < SECONDS:
            return None
        self.end()
        return self._given_up(f"not read after {SECONDS:.0f} seconds")

    def end(self) -> None:
        """Stop it."""
        self.ended = True
        self.process.kill()
        self.process.join()
        self.connection.close()

    def _given_up(self, reason: str) -> FileFacts:
        file = self.files.popleft()
        return FileFacts(file).failed(f"{file.path}: {reason}; fetch the file again or leave it out")


def _work(connection: Connection) -> None:
    begin_worker()
    # What decoders print of broken files is no news: it is among the facts.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    while True:
        try:
            files = connection.recv()
        except EOFError:
            return
        for file in files:
            connection.send(examine(file))
