"""What a DataLoader makes of several items, and how training pairs reach the device."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from ipsam.data.datasets import TestItem, TrainItem


class Batch(dict[str, Any]):
    """Training pairs: ``image`` (b, 3, H, W) and ``mask`` (b, 1, H, W), both uint8, ``name`` and ``index`` of each.

    In memory the three colours of a pixel lie side by side.
    """

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Batch":
        """The batch on a device; to a GPU it is copied while that still computes what it was asked before.

        Args:
            device: where to.
            non_blocking: do not wait for the copy; the GPU will, before it uses it.
        """
        if device.type != "cuda":
            return self._moved(device, non_blocking)
        copies, computes = copying_stream(device), torch.cuda.current_stream(device)
        with torch.cuda.stream(copies):
            moved = self._moved(device, non_blocking)
        computes.wait_stream(copies)
        for tensor in moved._tensors().values():
            tensor.record_stream(computes)  # whose memory is then not used again too early
        return moved

    def _tensors(self) -> dict[str, Tensor]:
        return {name: value for name, value in self.items() if isinstance(value, Tensor)}

    def _moved(self, device: torch.device, non_blocking: bool) -> "Batch":
        return Batch(self, **{name: one.to(device, non_blocking=non_blocking) for name, one in self._tensors().items()})


def collate_train(items: Sequence[TrainItem]) -> Batch:
    """Training pairs as one batch."""
    rest = default_collate([{name: value for name, value in item.items() if name != "image"} for item in items])
    return Batch(rest, image=_stacked([item["image"] for item in items]))


def collate_test(items: Sequence[TestItem]) -> tuple[Tensor, list[NDArray[np.uint8]], list[str]]:
    """Images stacked to (b, 3, H, W) uint8; masks and names as lists, since masks differ in size."""
    images = _stacked([item["image"] for item in items])
    return images, [item["mask"] for item in items], [item["name"] for item in items]


def _stacked(images: Sequence[UInt8[Tensor, "3 H W"]]) -> UInt8[Tensor, "b 3 H W"]:
    """With the colours of a pixel side by side, as they lie in each: to rearrange them takes four times as long."""
    stacked: Tensor = default_collate([image.permute(1, 2, 0) for image in images])
    return stacked.permute(0, 3, 1, 2)


@lru_cache
def copying_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream on which a GPU's batches are copied."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
