import copy
import multiprocessing
import os
import signal
import sys
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import inf, nan
from weakref import WeakSet

import numpy as np
import pytest
from numpy.typing import NDArray

from ipsam.engine.evaluate.scores import Evaluation, check_parquet, ranking
from ipsam.engine.evaluate.scoring import AHEAD, CHUNK, NICENESS, score_images, score_set
from ipsam.engine.metrics import CURVES, Pixels, Protocol, measure


@dataclass(frozen=True)
class Noise:
    """A random prediction, after a delay."""

    index: int
    delay: float = 0.0

    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        time.sleep(self.delay)
        rng = np.random.default_rng(self.index)
        mask = np.zeros((40 + self.index, 50), np.uint8)
        mask[5 : 20 + self.index, 9:30] = 255
        return f"image{self.index}", rng.integers(0, 256, mask.shape, dtype=np.uint8), mask


def scored(jobs: Iterable[Noise], num_workers: int, protocol: Protocol | None = None) -> Evaluation:
    return score_set("set", jobs, 12, protocol=protocol or Protocol(), num_workers=num_workers)


@pytest.mark.parametrize("protocol", [Protocol(), Protocol(eight_bit=False), Protocol(size=33, binarise=True)], ids=str)
def test_workers_change_no_bit(protocol: Protocol) -> None:
    here = scored([Noise(index) for index in range(12)], 0, protocol)
    for num_workers in (1, 2, 3):  # the first jobs take longest, so that the later ones overtake them
        there = scored([Noise(index, delay=0.003 * (12 - index)) for index in range(12)], num_workers, protocol)
        assert there == here
        assert all(np.array_equal(there.curves["set"][name], here.curves["set"][name]) for name in CURVES)
        assert there.images["set"].names == [f"image{index}" for index in range(12)]


@pytest.mark.slow
def test_an_image_takes_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its curves have 12 KB, its scores 112 bytes, which as dictionaries were 1.7 KB."""
    image = measure(*Noise(0)()[1:], Protocol())
    monkeypatch.setattr("ipsam.engine.evaluate.scoring.measure", lambda *_: copy.deepcopy(image))

    def peak(num: int) -> int:
        tracemalloc.start()
        scored((Noise(0) for _ in range(num)), 0)
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # what is imported or cached at first
    assert peak(1010) - peak(10) < 1000 * 400


@dataclass(frozen=True)
class Niceness:
    """A job named after the niceness of its process."""

    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        _, prediction, mask = Noise(1)()
        return str(os.nice(0)), prediction, mask


@pytest.mark.skipif(sys.platform == "win32" or os.nice(0) + NICENESS > 19, reason="no more niceness to be had")
@pytest.mark.parametrize("predicting", [False, True])
def test_workers_yield_to_a_process_that_predicts(predicting: bool) -> None:
    jobs = [Niceness()] * 12
    scored = score_images("set", jobs, 12, protocol=Protocol(), num_workers=2, predicting=predicting)
    assert set(scored.names) == {str(os.nice(0) + NICENESS * predicting)}


@dataclass(frozen=True)
class SlowElsewhere:
    """A job that is slow in any process but one."""

    here: int
    index: int

    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        time.sleep(0 if os.getpid() == self.here else 0.02)
        _, prediction, mask = Noise(self.index)()
        return f"{self.index} {'here' if os.getpid() == self.here else 'there'}", prediction, mask


@pytest.mark.parametrize("predicting", [False, True])
def test_predicting_process_scores_instead_of_waiting(predicting: bool) -> None:
    jobs = [SlowElsewhere(os.getpid(), index) for index in range(40)]
    scored = score_images("set", jobs, 40, protocol=Protocol(), num_workers=1, predicting=predicting)
    assert [name.split()[0] for name in scored.names] == [str(index) for index in range(40)]
    where = {name.split()[1] for name in scored.names}
    assert where == ({"here", "there"} if predicting else {"there"})
    expected = score_images("set", [Noise(index) for index in range(40)], 40, protocol=Protocol(), num_workers=0)
    assert scored.values == expected.values
    assert scored.curves.digits() == expected.curves.digits()


@dataclass(frozen=True)
class NotFinite:
    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        return "image7", np.full((4, 5), np.nan), np.zeros((4, 5), np.uint8)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unscorable_image_is_named(num_workers: int) -> None:
    with pytest.raises(ValueError, match=r"^image7: a floating-point prediction must lie in \[0, 1\]"):
        scored([NotFinite()], num_workers)  # type: ignore[list-item]


@dataclass(frozen=True)
class Large:
    """A map too large for a pipe; the third kills the worker that scores it."""

    index: int
    pixels: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((300, 400), np.uint8))

    def __call__(self) -> tuple[str, Pixels, NDArray[np.uint8]]:
        if self.index == 2 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"image{self.index}", self.pixels, self.pixels


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("predicting", [False, True])
def test_worker_killed_while_large_maps_are_sent_is_an_error(predicting: bool, num_workers: int) -> None:
    jobs = map(Large, range(60))
    with pytest.raises(OSError, match=r"a worker process was killed .*; use fewer workers"):
        score_images("set", jobs, 60, protocol=Protocol(), num_workers=num_workers, predicting=predicting)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("predicting", [False, True])
def test_predictions_are_drawn_ahead_within_a_limit(predicting: bool) -> None:
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
    assert max(ahead) > CHUNK
    assert max(ahead) <= AHEAD * CHUNK + 2  # one being drawn, one being scored here


@pytest.mark.parametrize(("metric", "order"), [("sm", [2, 0, 3, 1]), ("mae", [1, 3, 0, 2])])
def test_ranking_is_from_best_to_worst(metric: str, order: list[int]) -> None:
    assert ranking([0.5, 0.1, 0.9, 0.3], metric) == order


@pytest.mark.parametrize("metric", ["sm", "mae"])
def test_not_finite_scores_rank_last_and_ties_keep_their_order(metric: str) -> None:
    assert ranking([nan, 0.5, inf, 0.5], metric) == [1, 3, 0, 2]


def test_parquet_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"parquet=true needs the package pyarrow: pip install -e '\.\[parquet\]'"):
        check_parquet()
