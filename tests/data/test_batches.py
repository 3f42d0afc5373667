"""Batches of training pairs, and their way to the device."""

import pytest
import torch
from support.defaults import augment_with
from torch.utils.data import DataLoader, default_collate

from ipsam.data import Batch, TrainSet, collate_train
from ipsam.data.batches import copying_stream
from ipsam.data.sources import SyntheticSource


def train_set() -> TrainSet:
    return TrainSet(
        SyntheticSource(5, 64, (0.0, 0.2), (1, 0)), image_size=64, augment=augment_with(rotate=10.0), seed=0
    )


def same(one: Batch, items: list[object]) -> bool:
    expected = default_collate(items)
    return one.keys() == expected.keys() and all(
        torch.equal(one[name].cpu(), value) if isinstance(value, torch.Tensor) else one[name] == value
        for name, value in expected.items()
    )


def test_batch_equals_torchs_default_collate() -> None:
    items = [train_set()[index] for index in range(3)]
    assert same(collate_train(items), list(items))
    assert not same(collate_train(items[::-1]), list(items))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_copies_while_it_computes() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    (batch,) = DataLoader(train_set(), 5, collate_fn=collate_train, pin_memory=True)
    assert isinstance(batch, Batch)
    assert batch["image"].is_pinned()
    batch.to(device)
    torch.cuda.synchronize()
    busy, copied = torch.cuda.Event(), torch.cuda.Event()
    torch.cuda._sleep(1_000_000_000)  # clock cycles: about half a second
    busy.record()
    computes = torch.cuda.current_stream()
    torch.cuda.set_sync_debug_mode("error")
    try:
        moved = batch.to(device, non_blocking=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    copied.record(copying_stream(device))
    copied.synchronize()
    assert not busy.query()
    assert torch.cuda.current_stream() == computes
    assert same(moved, [train_set()[index] for index in range(5)])
