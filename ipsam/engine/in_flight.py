"""Results on their way from the device, which meanwhile computes the next ones."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def to_host(tensors: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Begin to copy tensors of one device to the host; the call that is returned waits until they are there.

    A GPU is only told to: it copies once it has computed them, and the host goes on. Other devices copy at once.
    """
    if not tensors or tensors[0].device.type != "cuda":
        here = [tensor.cpu() for tensor in tensors]
        return lambda: here
    coming = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # to memory that torch pins for it
    copied = torch.cuda.current_stream(tensors[0].device).record_event()

    def wait() -> list[Tensor]:
        copied.synchronize()
        return coming

    return wait


def one_ahead(begun: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What each of some calls returns; each is made only once the next one is there, so that its work has begun."""
    calls = iter(begun)
    for before in islice(calls, 1):
        for call in calls:
            yield before()
            before = call
        yield before()


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Items by lists of ``size``; the last may be shorter."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
