"""Asynchronous copies between host and device."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # predicting by an exported file does without torch

T = TypeVar("T")


def to_device(tensor: Tensor, device: Any) -> Tensor:
    """Copy a host tensor to a device; a copy to a GPU is queued behind its earlier work."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def to_host(tensors: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
    """Start to copy tensors of one device to the host; the returned function waits for them.

    A GPU copies as soon as it has computed the tensors, without holding up the host. Other devices copy at once.
    """
    if not tensors or tensors[0].device.type != "cuda":
        on_host = [tensor.cpu() for tensor in tensors]
        return lambda: on_host
    import torch

    copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # into pinned memory
    copied = torch.cuda.current_stream(tensors[0].device).record_event()

    def wait() -> list[Tensor]:
        copied.synchronize()
        return [tensor.clone() for tensor in copies]  # pinned memory is scarce: the next copies need it

    return wait


def one_ahead(begun: Iterable[Callable[[], T]]) -> Iterator[T]:
    """Yield the results of calls one step late, so that the work of the next item is already running.

    If the next item fails to start, the previous result is yielded first.
    """
    calls = iter(begun)
    previous: Callable[[], T] | None = None
    while True:
        try:
            call = next(calls, None)
        except Exception:
            if previous is not None:
                yield previous()
            raise
        if previous is not None:
            yield previous()
        if call is None:
            return
        previous = call
