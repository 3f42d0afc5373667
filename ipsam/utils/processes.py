"""Work that the main process does for all processes of a run; alone, a process does it for itself."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

T = TypeVar("T")


def are_several() -> bool:
    """Return whether this process has joined others, see ``ipsam.utils.device.processes``."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def from_main(compute: Callable[[], T]) -> T:
    """Call a function in the main process alone, and return its result in all; they must call this together.

    Raises:
        ValueError, OSError: as the function raises them, in all processes.
    """
    if not are_several():
        return compute()
    from accelerate.utils import broadcast_object_list  # takes a second, which prediction need not wait for

    answer: list[Any] = [None, None]
    if torch.distributed.get_rank() == 0:
        try:
            answer = [compute(), None]
        except (ValueError, OSError) as error:
            answer = [None, error]
    result, refusal = broadcast_object_list(answer)
    if refusal is not None:
        raise refusal
    return result  # type: ignore[no-any-return]


@torch.no_grad()
def weights_from_main(model: nn.Module, device: torch.device) -> None:
    """Move a model to this process's device and give it the main process's weights, if there are several processes."""
    if not are_several():
        return
    for tensor in (*model.to(device).parameters(), *model.buffers()):
        whole = tensor.contiguous()  # a copy if it is in channels-last format
        torch.distributed.broadcast(whole, src=0)
        tensor.copy_(whole)
