"""Worker processes return results in order and errors unchanged, and never hang or stay behind."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ipsam.utils.worker_pool import WorkerPool

HERE = os.getpid()


def call(task: Callable[[], Any]) -> Any:
    return task()


def run(tasks: Any, num_workers: int = 2, **options: Any) -> list[Any]:
    return list(WorkerPool(call, num_workers=num_workers, **options).map(tasks))


def sleep_and_return(seconds: float, value: int) -> int:
    time.sleep(seconds)
    return value


def fail(kind: type[Exception], *arguments: object) -> None:
    raise kind(*arguments)


def in_worker() -> bool:
    return os.getpid() != HERE


def exit_in_worker(here: int) -> None:
    if os.getpid() != here:
        os._exit(9)


class ExitsInWorker:
    """Has a destructor that ends a forked process, where one that stops threads would wait forever."""

    def __init__(self) -> None:
        self.cycle = self

    def __del__(self) -> None:
        exit_in_worker(HERE)


class UnpicklableError(ValueError):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("options", [{}, {"chunk": 4, "ahead": 8}, {"chunk": 4, "ahead": 4, "help_out": True}], ids=str)
def test_results_keep_the_order_of_the_tasks(num_workers: int, options: dict[str, Any]) -> None:
    tasks = [partial(sleep_and_return, 0.003 * (12 - index), index) for index in range(12)]
    assert run(tasks, num_workers, **options) == list(range(12))
    assert run([], num_workers, **options) == []


def test_initializer_runs_in_the_workers_only() -> None:
    assert all(run([in_worker] * 10))
    values = run([partial(os.getenv, "POOL")] * 10, initializer=partial(os.environ.update, POOL="set"))
    assert values == ["set"] * 10
    assert "POOL" not in os.environ


def test_workers_leave_their_parents_garbage_alone() -> None:
    gc.disable()
    try:
        ExitsInWorker()
        assert all(isinstance(number, int) for number in run([gc.collect] * 4))
    finally:
        gc.enable()


@pytest.mark.parametrize("help_out", [False, True])
def test_tasks_are_drawn_ahead_within_the_limit(help_out: bool) -> None:
    """With ``help_out``, this process does tasks itself while workers lag."""
    drawn: list[int] = []

    def tasks() -> Iterator[Any]:
        for index in range(40):
            drawn.append(index)
            yield partial(sleep_and_return, 0.02, index) if index < 5 else in_worker

    results = WorkerPool(call, num_workers=1, chunk=2, ahead=6, help_out=help_out).map(tasks())
    assert next(results) == 0
    assert len(drawn) < 40 if not help_out else len(drawn) > 6
    elsewhere = [done for done in results if isinstance(done, bool)]
    assert all(elsewhere) is not help_out
    assert any(elsewhere)


@pytest.mark.parametrize("help_out", [False, True])
def test_the_first_failing_task_gives_the_error(help_out: bool) -> None:
    tasks = [partial(sleep_and_return, 0.3, 0), partial(fail, ValueError, "first"), partial(fail, OSError, "second")]
    with pytest.raises(ValueError, match=r"^first$") as caught:
        run(tasks, ahead=1, help_out=help_out)
    assert help_out or "in fail\n    raise kind" in str(caught.value.__cause__)


def test_an_unpicklable_error_is_raised_as_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)^in a worker process:.*UnpicklableError: this and that"):
        run([partial(fail, UnpicklableError, "this", "that")])


@pytest.mark.parametrize(("position", "help_out"), [(0, False), (0, True), (39, False)])
def test_a_killed_worker_is_an_error_and_no_hang(help_out: bool, position: int) -> None:
    tasks = [partial(sleep_and_return, 0.001, index) for index in range(40)]
    tasks[position] = partial(exit_in_worker, os.getpid())  # type: ignore[assignment]
    with pytest.raises(OSError, match=r"a worker process was killed \(exit status 9\), perhaps .* use fewer workers"):
        run(tasks, chunk=4, ahead=8, help_out=help_out)
    assert not multiprocessing.active_children()


def size_of(array: np.ndarray) -> int:
    time.sleep(0.001)
    return array.size


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("after", [0.02, 0.2])
def test_worker_killed_while_it_receives_a_large_task_is_an_error(num_workers: int, after: float) -> None:
    """ProcessPoolExecutor and pebble hang here."""
    others = set(multiprocessing.active_children())

    def kill_one() -> None:
        while not (children := set(multiprocessing.active_children()) - others):
            time.sleep(0.001)
        time.sleep(after)
        children.pop().kill()

    threading.Thread(target=kill_one, daemon=True).start()
    large = np.zeros((1500, 1500))
    with pytest.raises(OSError, match=r"a worker process (was killed|ended while it started)"):
        list(WorkerPool(size_of, num_workers=num_workers, ahead=8).map(large for _ in range(2000)))
    assert not set(multiprocessing.active_children()) - others


@pytest.mark.parametrize("num_workers", [1, 2])
def test_lost_tasks_get_a_result_and_all_others_finish(num_workers: int) -> None:
    tasks: list[Any] = [partial(sleep_and_return, 0, index) for index in range(20)]
    tasks[3], tasks[8] = partial(exit_in_worker, os.getpid()), partial(sleep_and_return, 60, 8)
    results = run(tasks, num_workers, chunk=16, timeout=1.0, lost=lambda task, reason: reason)
    assert results[3] == "its process was killed (exit status 9)"
    assert results[8] == "not done after 1 seconds"
    assert [result for result in results if isinstance(result, int)] == [i for i in range(20) if i not in (3, 8)]


def test_a_worker_that_ends_while_it_starts_is_an_error() -> None:
    with pytest.raises(OSError, match=r"a worker process ended while it started \(exit status 7\)"):
        run([os.getpid], initializer=partial(os._exit, 7), lost=lambda *_: None)


def test_no_worker_survives_an_interruption() -> None:
    results = WorkerPool(call, num_workers=2).map([os.getpid] * 100)
    next(results)
    assert len(multiprocessing.active_children()) >= 2
    results.close()  # type: ignore[attr-defined]  # like an error or Ctrl-C
    assert not multiprocessing.active_children()


ORPHANS = """
import os, signal
from functools import partial
from test_worker_pool import call, sleep_and_return
from ipsam.utils.worker_pool import WorkerPool

tasks = [os.getpid] * 8 + [partial(sleep_and_return, 60, 0)] * 8
for number, pid in enumerate(WorkerPool(call, num_workers=2).map(tasks)):
    print(pid, flush=True)
    if number == 7:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_worker_outlives_a_killed_parent() -> None:
    """The output ends with the last process that holds it, and a worker would sleep for a minute."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", ORPHANS]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=50)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout


def blur() -> float:
    return float(cv2.GaussianBlur(np.ones((200, 200), np.float32), (0, 0), 5).sum())


def test_opencv_threads_of_the_parent_do_not_hang_workers() -> None:
    """Threads don't survive a fork; a worker would wait for them forever."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.GaussianBlur(np.zeros((2000, 2000), np.float32), (0, 0), 5)
        cv2.distanceTransform(np.ones((2000, 2000), np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        assert run([blur] * 4) == pytest.approx([blur()] * 4)
    finally:
        cv2.setNumThreads(before)
