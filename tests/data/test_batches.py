"""Batches of training pairs, and their way to the device."""

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, default_collate

from ipsam.data import Batch, TrainSet, collate_train
from ipsam.data.batches import copying_stream
from ipsam.data.sources import SyntheticSource
from ipsam.data.transforms import Augment


def train_set() -> TrainSet:
    return TrainSet(SyntheticSource(5, 64, (0.0, 0.2), (1, 0)), image_size=64, augment=Augment(rotate=10.0), seed=0)


def same(one: Batch, items: list[object]) -> bool:
    expected = default_collate(items)
    return one.keys() == expected.keys() and all(
        torch.equal(one[name].cpu(), value) if isinstance(value, torch.Tensor) else one[name] == value
        for name, value in expected.items()
    )


def test_a_batch_is_what_torch_would_stack() -> None:
    items = [train_set()[index] for index in range(3)]
    assert same(collate_train(items), list(items))
    assert not same(collate_train(items[::-1]), list(items))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_accelerate_lets_a_batch_move_itself(monkeypatch: pytest.MonkeyPatch, num_workers: int) -> None:
    """Else it would copy on the stream of the steps."""
    moved: list[tuple[torch.device, bool]] = []
    original = Batch.to

    def watched(batch: Batch, device: torch.device, *, non_blocking: bool = False) -> Batch:
        moved.append((device, non_blocking))
        return original(batch, device, non_blocking=non_blocking)

    monkeypatch.setattr(Batch, "to", watched)
    loader = DataLoader(train_set(), 2, num_workers=num_workers, collate_fn=collate_train)
    prepared = Accelerator(cpu=True).prepare(loader)
    for batch, first in zip(prepared, (0, 2, 4), strict=True):
        assert isinstance(batch, Batch)
        assert same(batch, [train_set()[index] for index in range(first, min(first + 2, 5))])
    assert moved == [(torch.device("cpu"), False)] * 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_copies_while_it_computes() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    items = [train_set()[index] for index in range(2)]
    batch = Batch(
        {name: one.pin_memory() if torch.is_tensor(one) else one for name, one in collate_train(items).items()}
    )
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
    assert same(moved, list(items))
