"""A process that scores images."""

import multiprocessing
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics import ImageScores, Pixels, Protocol, measure
from ipsam.utils.workers import begin_worker

# What is called for one image, mostly in another process: gives its name, prediction (h, w) and mask (h, w).
Job = Callable[[], tuple[str, Pixels, NDArray[np.uint8]]]


def score(job: Job, protocol: Protocol) -> tuple[str, ImageScores]:
    """The image's name and scores.

    Raises:
        ValueError, OSError: as the job raises them, and for what ``measure`` refuses.
    """
    name, prediction, mask = job()
    try:
        return name, measure(prediction, mask, protocol)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def score_some(jobs: Sequence[Job], protocol: Protocol) -> list[tuple[str, ImageScores]]:
    """What is handed over at a time.

    Raises:
        ValueError, OSError: as ``score`` does.
        RuntimeError: for any other error, and for what could not be told in another process.
    """
    try:
        return [score(job, protocol) for job in jobs]
    except Exception as error:
        if isinstance(error, ValueError | OSError) and _can_be_handed_over(error):
            raise
        raise RuntimeError(f"in scoring:\n{traceback.format_exc()}") from error


def _can_be_handed_over(error: Exception) -> bool:
    """Whether it comes out in another process as it is."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)  # noqa: S301 (its own)
    except Exception:
        return False


class ScoringProcess:
    """A process that scores what it is handed. It is called like a function, by a thread, which waits for it.

    Not a ``ProcessPoolExecutor``'s, which hangs where a process is killed while maps are on their way to it.
    """

    def __init__(self, niceness: int) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_serve, args=(theirs, niceness), daemon=True)
        self._process.start()
        theirs.close()  # so that its end is noticed here
        self._is_there = False

    def __call__(self, jobs: Sequence[Job], protocol: Protocol) -> list[tuple[str, ImageScores]]:
        """``score_some`` in the process.

        Raises:
            ValueError, OSError, RuntimeError: as ``score_some`` does.
            OSError: the process was killed.
        """
        try:
            if not self._is_there:  # until then Windows keeps the pipe open, whatever becomes of the process
                if self._connection not in wait([self._connection, self._process.sentinel]):
                    raise EOFError
                self._is_there = self._connection.recv()
            self._connection.send((jobs, protocol))
            scored, error, where = self._connection.recv()
        except (EOFError, OSError) as lost:
            raise OSError("a scoring process was killed, perhaps for want of memory; use fewer workers") from lost
        try:
            if error is not None:
                raise error from RuntimeError(f"in a scoring process:\n{where}")
        finally:
            del error  # which would keep this call's frame
        found: list[tuple[str, ImageScores]] = scored
        return found

    def end(self) -> None:
        """Whatever it is doing; who waits for it is told that it was killed."""
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, niceness: int) -> None:
    """What the process does, until it is killed, as it is in the end."""
    if sys.platform != "win32":
        os.nice(niceness)
    begin_worker()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # to all processes: the main one knows what to do
    connection.send(True)
    while True:
        try:
            jobs, protocol = connection.recv()
        except EOFError:  # the main process is gone
            return
        try:
            answer: tuple[Any, Exception | None, str] = (score_some(jobs, protocol), None, "")
        except Exception as error:
            answer = (None, error, traceback.format_exc())
        connection.send(answer)
