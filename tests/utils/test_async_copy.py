"""Asynchronous copies between host and device."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch

from ipsam.utils.async_copy import one_ahead, to_device, to_host


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, []),
        (1, ["begin 0", "end 0"]),
        (3, ["begin 0", "begin 1", "end 0", "begin 2", "end 1", "end 2"]),
    ],
)
def test_results_come_one_step_late(number: int, expected: list[str]) -> None:
    events: list[str] = []

    def finish(index: int) -> int:
        events.append(f"end {index}")
        return index

    def begun() -> Iterator[Callable[[], int]]:
        for index in range(number):
            events.append(f"begin {index}")
            yield partial(finish, index)

    assert list(one_ahead(begun())) == list(range(number))
    assert events == expected


def test_started_work_finishes_before_an_error() -> None:
    def begun() -> Iterator[Callable[[], int]]:
        yield lambda: 0
        yield lambda: 1
        raise ValueError("the third")

    results = one_ahead(begun())
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(results)


def test_tensors_are_copied() -> None:
    tensors = [torch.arange(4.0), torch.ones(2, 3, dtype=torch.uint8)]
    assert all(torch.equal(one, other) for one, other in zip(to_host(tensors)(), tensors, strict=True))
    assert to_host([])() == []
    assert torch.equal(to_device(tensors[0], torch.device("cpu")), tensors[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_host_waits_for_the_gpu_only_when_it_reads() -> None:
    values = torch.zeros(1000, device="cuda")
    to_host([values])()  # the first pinned copy waits
    sent = to_device(torch.ones(1000), values.device)
    torch.cuda._sleep(1_000_000_000)  # clock cycles: about half a second
    values += sent
    more = to_device(torch.ones(1000), values.device)
    values += more
    busy = torch.cuda.current_stream().record_event()
    arriving = to_host([values])
    assert not busy.query()
    assert (arriving()[0] == 2).all()
