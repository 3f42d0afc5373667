from typing import Any

import pytest
import torch

from ipsam.data.sources import SyntheticSource
from ipsam.tools.benchmark import step_timer as module
from ipsam.tools.benchmark.step_timer import Watch, WatchedSource

CPU = torch.device("cpu")


def test_steps_begin_where_a_batch_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two; the first is fetched ahead, one step warms up, three count, one is left over."""
    clock = iter(range(100))
    now = [0]

    def tick() -> int:
        return now[0]

    monkeypatch.setattr(module.time, "perf_counter", tick)
    watch = Watch(batch_size=2, device=CPU, warm_up=1, num_steps=3)
    assert (watch.first, watch.last, watch.num_items) == (4, 10, 16)
    for request in range(16):
        now[0] = {4: 100, 6: 101, 8: 103, 10: 108}.get(request, -1000 * next(clock))
        watch()
    assert watch.seconds == 2  # the median of 1, 2 and 5
    assert watch.peak is None


def test_the_memory_of_one_step_is_followed() -> None:
    watch = Watch(batch_size=1, device=CPU, warm_up=0, num_steps=1, measures=True)
    kept: list[Any] = []
    for request in range(watch.num_items):
        watch()
        kept.append(torch.empty(1000 * (1 + request)))
    assert watch.peak == 4 * 1000 * (1 + watch.last)


def test_a_source_tells_and_is_the_same() -> None:
    source = SyntheticSource(3, 32, (0.0, 0.1), (0,))
    calls: list[int] = []
    watched = WatchedSource(source, asked=lambda: calls.append(1))
    assert watched.read(1, 0).name == source.read(1, 0).name
    assert len(calls) == 1
    assert (len(watched), watched.names(), list(watched.listing())) == (3, source.names(), list(source.listing()))
