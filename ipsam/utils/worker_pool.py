"""Worker processes that never block their parent forever, and never outlive it."""

import atexit
import gc
import math
import multiprocessing
import multiprocessing.util  # registers its exit handler before ours, so that ours runs first
import os
import pickle
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar, cast

import cv2

from ipsam.utils.signals import ignore_signals

T = TypeVar("T")
R = TypeVar("R")
LOOK_SECONDS = 1.0  # between two checks of the timeouts

# A forked process that collects its parent's garbage waits forever where a destructor stops threads, which it lacks.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=gc.freeze)


def num_cpus() -> int:
    """Return how many CPUs this process may use, which a container or cluster often limits."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def begin_worker() -> None:
    """Set up a worker process: one thread, Ctrl-C left to the parent, and an end with the parent."""
    cv2.setNumThreads(0)  # not 1: a forked process would wait forever for threads that it does not have
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@atexit.register
def _kill_workers() -> None:
    """Kill workers that an uncaught error leaves running; Python would wait forever for those that ignore signals."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


@dataclass
class _Call(Generic[T, R]):
    """A task with its result or error, once it is done."""

    task: T | None
    done: bool = False
    result: R | None = None
    error: tuple[Exception, BaseException | None] | None = None  # with its cause

    def finish(self, result: R | None, error: tuple[Exception, BaseException | None] | None = None) -> None:
        self.task, self.done, self.result, self.error = None, True, result, error


class _Worker(Generic[T, R]):
    """A process, the pipe to it, and the calls that it has been sent."""

    def __init__(self, function: Callable[[T], R], initializer: Callable[[], object] | None) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=_serve, args=(theirs, function, initializer), daemon=True)
        self.process.start()
        theirs.close()  # so that the end of the process is seen here
        self.calls: deque[_Call[T, R]] = deque()
        self.is_ready = False  # nothing is sent before: on Windows the send would outlast a process that dies early
        self.since = time.monotonic()

    def send(self, calls: Sequence[_Call[T, R]]) -> None:
        self.calls.extend(calls)
        self.since = time.monotonic()
        with suppress(OSError):  # the process is gone, as the next receive finds out
            self.connection.send([call.task for call in calls])

    def receive(self) -> bool:
        """Take one answer of the process; return False if the process is gone."""
        try:
            if not self.connection.poll():
                return False
            answer = self.connection.recv()
        except (EOFError, OSError):
            return False
        if self.is_ready:
            self.calls.popleft().finish(*answer)
        self.is_ready, self.since = True, time.monotonic()
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


class WorkerPool(Generic[T, R]):
    """Processes that call a function on tasks, each over a pipe of its own.

    In ``concurrent.futures`` and pebble the workers share one pipe. A worker that is killed there while it receives a
    large task leaves the others and the parent waiting forever.

    Args:
        function: called in the workers. It, the tasks and the results must be picklable.
        num_workers: number of processes, at least 1.
        chunk: largest number of tasks sent to a worker at once.
        ahead: largest number of tasks drawn but not done.
        help_out: do a task in this process when ``ahead`` are not done and more can be drawn, instead of waiting.
        timeout: seconds after which a task is given up and its worker killed; None: never.
        lost: makes the result of a task whose worker was killed, from the task and the reason; None: raise an error.
        initializer: called first in each worker.
    """

    def __init__(
        self,
        function: Callable[[T], R],
        *,
        num_workers: int,
        chunk: int = 1,
        ahead: float = math.inf,
        help_out: bool = False,
        timeout: float | None = None,
        lost: Callable[[T, str], R] | None = None,
        initializer: Callable[[], object] | None = None,
    ) -> None:
        self.function, self.initializer, self.num_workers = function, initializer, num_workers
        self.chunk, self.ahead, self.help_out, self.timeout, self.lost = chunk, ahead, help_out, timeout, lost
        self._workers: list[_Worker[T, R]] = []
        self._waiting: deque[_Call[T, R]] = deque()  # not sent yet

    def map(self, tasks: Iterable[T]) -> Iterator[R]:
        """Yield the results in the order of the tasks, which are drawn in this process.

        Raises:
            OSError: a worker was killed and there is no ``lost``, or a worker could not start.
            RuntimeError: an error of the function could not be pickled; the message holds its traceback.
            Exception: the first task's that failed, in their order.
        """
        drawn, exhausted = iter(tasks), False
        pending: deque[_Call[T, R]] = deque()  # not yielded yet
        try:
            while len(self._workers) < self.num_workers:
                self._workers.append(_Worker(self.function, self.initializer))
            while pending or not exhausted:
                self._send()
                draws = not exhausted and (self.help_out or self._num_undone() < self.ahead)
                if draws:
                    try:
                        pending.append(_Call(next(drawn)))
                        self._waiting.append(pending[-1])
                    except StopIteration:
                        exhausted = True
                    if self.help_out and self._num_undone() > self.ahead and self._waiting:
                        self._do_one()
                self._receive(0 if draws else LOOK_SECONDS)
                while pending and pending[0].done:
                    call = pending.popleft()
                    if call.error is not None:
                        raise call.error[0] from call.error[1]
                    yield cast(R, call.result)
        finally:
            for worker in self._workers:
                worker.kill()
            self._workers.clear()
            self._waiting.clear()

    def _num_undone(self) -> int:
        return len(self._waiting) + sum(len(worker.calls) for worker in self._workers)

    def _send(self) -> None:
        """Send waiting calls to idle workers, and replace workers that were killed."""
        while self._waiting and len(self._workers) < self.num_workers:
            self._workers.append(_Worker(self.function, self.initializer))
        for worker in self._workers:
            if worker.is_ready and not worker.calls and self._waiting:
                number = max(1, min(self.chunk, len(self._waiting) // self.num_workers))
                worker.send([self._waiting.popleft() for _ in range(number)])

    def _do_one(self) -> None:
        call = self._waiting.pop()  # the newest; workers are about to get the oldest
        try:
            call.finish(self.function(cast(T, call.task)))
        except Exception as error:
            call.finish(None, (error, error.__cause__))

    def _receive(self, seconds: float) -> None:
        """Receive one answer of each worker that has one; wait for the first up to some seconds."""
        busy = [worker for worker in self._workers if worker.calls or not worker.is_ready]
        handles: list[Any] = [worker.connection for worker in busy]
        handles += [worker.process.sentinel for worker in busy if not worker.is_ready]
        ready = wait(handles, seconds)
        for worker in busy:
            if worker.connection in ready or worker.process.sentinel in ready:
                if not worker.receive():
                    self._lose(worker)
            elif self.timeout is not None and worker.calls and time.monotonic() - worker.since > self.timeout:
                self._lose(worker, f"not done after {self.timeout:.0f} seconds")

    def _lose(self, worker: _Worker[T, R], reason: str | None = None) -> None:
        """Remove a worker that is gone or late, finish the call that it was at, and take back its other calls."""
        self._workers.remove(worker)
        worker.kill()
        status = f"exit status {worker.process.exitcode}"
        if not worker.is_ready:
            raise OSError(f"a worker process ended while it started ({status})")
        call = worker.calls.popleft()
        if self.lost is None:
            killed = OSError(f"a worker process was killed ({status}), perhaps for lack of memory; use fewer workers")
            call.finish(None, (killed, None))
        else:
            call.finish(self.lost(cast(T, call.task), reason or f"its process was killed ({status})"))
        self._waiting.extendleft(reversed(worker.calls))


def _serve(connection: Connection, function: Callable[[T], R], initializer: Callable[[], object] | None) -> None:
    """Answer calls in a worker, until it is killed or its parent is gone."""
    begin_worker()
    ignore_signals()  # clusters and terminals send them to all processes; the parent decides what to do
    if initializer is not None:
        initializer()
    connection.send(None)  # ready
    while True:
        try:
            tasks = connection.recv()
        except EOFError:
            return
        for task in tasks:
            try:
                answer = pickle.dumps((function(task), None))
            except Exception as error:
                answer = _pickled_error(error)
            connection.send_bytes(answer)


def _pickled_error(error: Exception) -> bytes:
    """Pickle an error and its traceback, or the traceback alone if the error can't be pickled."""
    remote = RuntimeError(f"in a worker process:\n{traceback.format_exc()}")
    with suppress(Exception):
        answer = pickle.dumps((None, (error, remote)))
        if type(pickle.loads(answer)[1][0]) is type(error):  # noqa: S301 (its own)
            return answer
    return pickle.dumps((None, (remote, None)))
