import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from weakref import WeakSet

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.evaluate.scoring import AHEAD, NICENESS, TOGETHER, score_images, score_set
from ipsam.engine.metrics import CURVES, METRICS, Pixels, Protocol


@dataclass(frozen=True)
class Noise:
    """A prediction that gets ready after a while."""

    index: int
    delay: float = 0.0

    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        time.sleep(self.delay)
        rng = np.random.default_rng(self.index)
        mask = np.zeros((40 + self.index, 50), np.uint8)
        mask[5 : 20 + self.index, 9:30] = 255
        return f"image{self.index}", rng.integers(0, 256, mask.shape, dtype=np.uint8), mask


@dataclass(frozen=True)
class Failing:
    """Fails in the given way."""

    how: Callable[[], object]

    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        self.how()
        raise AssertionError


def broken_file() -> None:
    raise ValueError("maps/a.png: broken, or no image")


def killed() -> None:
    os._exit(9)


def scored(jobs: Iterator[Noise] | list[Noise], num_workers: int, protocol: Protocol | None = None) -> Evaluation:
    return score_set("set", jobs, 12, protocol=protocol or Protocol(), num_workers=num_workers)


@pytest.mark.parametrize("protocol", [Protocol(), Protocol(eight_bit=False), Protocol(size=33, binarise=True)], ids=str)
def test_workers_change_no_bit(protocol: Protocol) -> None:
    here = scored([Noise(index) for index in range(12)], 0, protocol)
    for num_workers in (1, 2, 3):  # the first jobs take longest, so that the later ones overtake them
        there = scored([Noise(index, delay=0.003 * (12 - index)) for index in range(12)], num_workers, protocol)
        assert there == here
        assert all(np.array_equal(there.curves["set"][name], here.curves["set"][name]) for name in CURVES)
        assert [row["name"] for row in there.per_image] == [f"image{index}" for index in range(12)]


def test_means_don_t_depend_on_the_order() -> None:
    jobs = [Noise(index) for index in range(12)]
    here, backwards = scored(jobs, 0), scored(jobs[::-1], 2)
    assert backwards.datasets == here.datasets
    assert backwards.per_image == here.per_image[::-1]
    assert all(np.array_equal(backwards.curves["set"][name], here.curves["set"][name]) for name in CURVES)


@dataclass(frozen=True)
class WhoAmI:
    """Gives the number of the process it is called in as its name."""

    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        _, prediction, mask = Noise(1)()
        return str(os.getpid()), prediction, mask


def test_workers_are_other_processes() -> None:
    here = {row["name"] for row in scored([WhoAmI()] * 12, 0).per_image}  # type: ignore[list-item]
    there = {row["name"] for row in scored([WhoAmI()] * 12, 2).per_image}  # type: ignore[list-item]
    assert here == {str(os.getpid())}
    assert not there & here


@dataclass(frozen=True)
class Niceness:
    """Gives the niceness of the process it is called in as its name."""

    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        _, prediction, mask = Noise(1)()
        return str(os.nice(0)), prediction, mask


@pytest.mark.skipif(sys.platform == "win32" or os.nice(0) + NICENESS > 19, reason="no more niceness to be had")
@pytest.mark.parametrize("predicting", [False, True])
def test_workers_yield_to_a_process_that_predicts(predicting: bool) -> None:
    jobs = [Niceness()] * 12
    scored = score_images("set", jobs, 12, protocol=Protocol(), num_workers=2, predicting=predicting)
    assert {name for name, _ in scored} == {str(os.nice(0) + NICENESS * predicting)}


@dataclass(frozen=True)
class SlowElsewhere:
    """Slow in another process than the one with the given number; fails where it is told to."""

    here: int
    index: int
    delay: float = 0.05
    fails: bool = False

    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        if self.fails:
            raise ValueError(f"image{self.index} is broken")
        time.sleep(0 if os.getpid() == self.here else self.delay)
        _, prediction, mask = Noise(self.index)()
        return f"{self.index} {'here' if os.getpid() == self.here else 'there'}", prediction, mask


@pytest.mark.parametrize("predicting", [False, True])
def test_a_process_that_predicts_scores_rather_than_wait(predicting: bool) -> None:
    jobs = [SlowElsewhere(os.getpid(), index) for index in range(40)]
    scored = score_images("set", jobs, 40, protocol=Protocol(), num_workers=1, predicting=predicting)
    assert [name.split()[0] for name, _ in scored] == [str(index) for index in range(40)]
    where = {name.split()[1] for name, _ in scored}
    assert where == ({"here", "there"} if predicting else {"there"})
    expected = score_images("set", [Noise(index) for index in range(40)], 40, protocol=Protocol(), num_workers=0)
    for (_, image), (_, other) in zip(scored, expected, strict=True):
        assert image.scores == other.scores
        assert np.array_equal(image.curves, other.curves)


@pytest.mark.parametrize("broken", [{1, 39}, {39}], ids=str)
def test_of_several_errors_the_first_image_s_is_told_whoever_scores(broken: set[int]) -> None:
    """A worker takes the first jobs and half a second for them; long before, this process comes to the last one."""
    jobs = [SlowElsewhere(os.getpid(), i, delay=0.5 if i == 0 else 0.0, fails=i in broken) for i in range(40)]
    with pytest.raises(ValueError, match=f"^image{min(broken)} is broken$"):
        score_images("set", jobs, 40, protocol=Protocol(), num_workers=1, predicting=True)


@dataclass(frozen=True)
class NotFinite:
    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        return "image7", np.full((4, 5), np.nan), np.zeros((4, 5), np.uint8)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_what_can_t_be_scored_is_named(num_workers: int) -> None:
    with pytest.raises(ValueError, match=r"^image7: a floating-point prediction must lie in \[0, 1\]"):
        scored([NotFinite()], num_workers)  # type: ignore[list-item]


def test_what_comes_of_it() -> None:
    evaluation = scored([Noise(index) for index in range(12)], 0)
    assert list(evaluation.datasets["set"]) == ["num_images", *METRICS]
    assert evaluation.datasets["set"]["num_images"] == 12
    assert list(evaluation.per_image[0]) == ["dataset", "name", *METRICS]
    assert list(evaluation.curves["set"]) == list(CURVES)
    assert evaluation.protocol == Protocol()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_error_comes_out_as_it_is(num_workers: int) -> None:
    jobs = [Noise(0), Failing(broken_file), *(Noise(index) for index in range(2, 12))]
    with pytest.raises(ValueError, match=r"^maps/a\.png: broken, or no image$"):
        scored(jobs, num_workers)  # type: ignore[arg-type]


class UnpicklableError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class UnpicklableValueError(UnpicklableError, ValueError):
    pass


def unpicklable(kind: type[Exception]) -> None:
    raise kind("this", "that")


@pytest.mark.parametrize("kind", [UnpicklableError, UnpicklableValueError])
def test_an_error_that_can_t_be_handed_over_is_told_in_words(kind: type[Exception]) -> None:
    with pytest.raises(RuntimeError, match=rf"(?s)in scoring:.*{kind.__name__}: this and that"):
        scored([Failing(partial(unpicklable, kind))], 2)  # type: ignore[list-item]


def test_where_one_worker_can_t_be_started_the_others_end(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = multiprocessing.Process.start, []

    def third_fails(process: multiprocessing.Process) -> None:
        if len(started) == 2:
            raise OSError("Resource temporarily unavailable")
        started.append(process)
        start(process)

    monkeypatch.setattr(multiprocessing.Process, "start", third_fails)
    with pytest.raises(OSError, match="temporarily unavailable"):
        scored([Noise(0)], 3)
    assert len(started) == 2
    assert not multiprocessing.active_children()


ORPHANS = """
import os, signal, sys
from test_scoring import Noise, WhoAmI
from ipsam.engine.evaluate.scoring import _in_workers
from ipsam.engine.metrics import Protocol

def jobs():
    yield from [WhoAmI()] * 8
    yield from [Noise(1, delay=60)] * 8

for count, (pid, _) in enumerate(_in_workers(jobs(), Protocol(), 2, sys.argv[1] == "True")):
    print(pid, flush=True)
    if count == 7:
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("predicting", [False, True])
def test_no_worker_outlives_a_killed_main_process(predicting: bool) -> None:
    """The output of all of them ends with the last one, which would sleep for a minute."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", ORPHANS, str(predicting)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=50)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout


@pytest.mark.parametrize("predicting", [False, True])
def test_a_killed_worker_is_an_error_not_a_hang(predicting: bool) -> None:
    jobs = [Noise(0), Failing(killed), *map(Noise, range(2, 40))]
    with pytest.raises(OSError, match="a scoring process was killed, perhaps for want of memory; use fewer workers"):
        score_images("set", jobs, 40, protocol=Protocol(), num_workers=2, predicting=predicting)


@dataclass(frozen=True)
class Large:
    """What fits into no pipe; the process that it comes to is killed."""

    index: int
    pixels: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((300, 400), np.uint8))

    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        if self.index == 2 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"image{self.index}", self.pixels, self.pixels


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("predicting", [False, True])
def test_nor_is_it_while_large_maps_are_on_their_way(predicting: bool, num_workers: int) -> None:
    jobs = map(Large, range(60))
    with pytest.raises(OSError, match="a scoring process was killed"):
        score_images("set", jobs, 60, protocol=Protocol(), num_workers=num_workers, predicting=predicting)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("predicting", [False, True])
def test_predictions_are_made_while_others_are_scored_and_never_pile_up(predicting: bool) -> None:
    """With each job a little slow to score, the next ones are drawn, but only some ahead of what is done."""
    alive: WeakSet[Noise] = WeakSet()
    ahead = []

    def jobs() -> Iterator[Noise]:
        for index in range(60):
            job = Noise(index, delay=0.01)
            alive.add(job)
            ahead.append(len(alive))
            yield job

    scored = score_images("set", jobs(), 60, protocol=Protocol(), num_workers=1, predicting=predicting)
    assert len(scored) == len(ahead) == 60
    assert max(ahead) > TOGETHER
    # Handed over and being drawn; beside a prediction one lot more is handed over, and one just scored here.
    assert max(ahead) <= (AHEAD + 1 + 2 * predicting) * TOGETHER


def test_opencv_s_threads_in_this_process_don_t_hang_the_workers() -> None:
    """OpenCV's threads don't survive a fork; a worker that waited for them would wait for ever."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.GaussianBlur(np.zeros((2000, 2000), np.float32), (0, 0), 5)
        cv2.distanceTransform(np.ones((2000, 2000), np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        assert scored([Noise(index) for index in range(12)], 2) == scored([Noise(index) for index in range(12)], 0)
    finally:
        cv2.setNumThreads(before)
