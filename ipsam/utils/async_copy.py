"""Work that a device has begun, and results on their way from it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host's on a device; a GPU is only told to fetch it, once it has done what it was told before."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


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
        return [tensor.clone() for tensor in coming]  # pinned memory is scarce: the next ones need it

    return wait


def one_ahead(begun: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What each of some calls returns; each is made only once the next one is there, so that its work has begun.

    Where the next one fails to begin, the one before is finished first.
    """
    calls = iter(begun)
    before: Callable[[], T] | None = None
    while True:
        try:
            call = next(calls, None)
        except Exception:
            if before is not None:
                yield before()
            raise
        if before is not None:
            yield before()
        if call is None:
            return
        before = call
