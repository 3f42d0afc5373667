"""Collate items into batches, and copy training batches to the device."""

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
from ipsam.data.placement import Placement


class Batch(dict[str, Any]):
    """Training batch: ``image`` (b, 3, H, W) and ``mask`` (b, 1, H, W), both uint8, with each ``name`` and ``index``.

    Images are in channels-last memory format.
    """

    def to(self, device: torch.device, *, non_blocking: bool = False) -> "Batch":
        """Copy the tensors to a device; a GPU copies on a stream of its own while it computes.

        With ``non_blocking``, return before the copy has ended; the GPU waits for it.
        """
        if device.type != "cuda":
            return self._copied(device, non_blocking)
        copy_stream, compute_stream = copying_stream(device), torch.cuda.current_stream(device)
        with torch.cuda.stream(copy_stream):
            copied = self._copied(device, non_blocking)
        compute_stream.wait_stream(copy_stream)
        for value in copied.values():
            if isinstance(value, Tensor):
                value.record_stream(compute_stream)  # keeps its memory from being reused too early
        return copied

    def _copied(self, device: torch.device, non_blocking: bool) -> "Batch":
        tensors = {name: value for name, value in self.items() if isinstance(value, Tensor)}
        return Batch(self, **{name: one.to(device, non_blocking=non_blocking) for name, one in tensors.items()})


def collate_train(items: Sequence[TrainItem]) -> Batch:
    """Collate training items into one batch."""
    rest = default_collate([{name: value for name, value in item.items() if name != "image"} for item in items])
    return Batch(rest, image=_stacked([item["image"] for item in items]))


def collate_test(items: Sequence[TestItem]) -> tuple[Tensor, list[NDArray[np.uint8]], list[str], list[Placement]]:
    """Stack images to (b, 3, H, W) uint8; the rest become lists, since masks differ in size."""
    images = _stacked([item["image"] for item in items])
    masks, names, placements = zip(*((item["mask"], item["name"], item["placement"]) for item in items), strict=True)
    return images, list(masks), list(names), list(placements)


def _stacked(images: Sequence[UInt8[Tensor, "3 H W"]]) -> UInt8[Tensor, "b 3 H W"]:
    """Stack in channels-last memory format, which each image has: rearranging would take four times as long."""
    stacked: Tensor = default_collate([image.permute(1, 2, 0) for image in images])
    return stacked.permute(0, 3, 1, 2)


@lru_cache
def copying_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream that copies batches to a GPU."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
