"""Fast training does what plain training does."""

from itertools import islice
from typing import Any

import pytest
import torch
from support.training import model_of
from torch.utils.data import default_collate

from ipsam.data import Batch
from ipsam.engine.train import trainer
from ipsam.model import LoRA


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("fast", [True, False])
def test_fast_batches_move_themselves_to_the_device(
    monkeypatch: pytest.MonkeyPatch, scenes: Any, make_settings: Any, fast: bool, num_workers: int
) -> None:
    """Otherwise accelerate copies them, on the stream of the steps."""
    moved: list[tuple[torch.device, bool]] = []
    original = Batch.to

    def watched(batch: Batch, device: torch.device, *, non_blocking: bool = False) -> Batch:
        moved.append((device, non_blocking))
        return original(batch, device, non_blocking=non_blocking)

    monkeypatch.setattr(Batch, "to", watched)
    train_set, _ = scenes(num_train=5).train_and_val(seed=0)
    settings = make_settings(fast=fast, num_workers=num_workers)
    prepared, batches = trainer.train_loader(
        train_set, settings, trainer.make_accelerator(model_of(1), settings), seed=0
    )
    order = iter(batches.order)
    for batch in prepared:
        assert isinstance(batch, Batch) == fast
        plain = default_collate([train_set[index] for index in islice(order, 2)])
        assert batch.keys() == plain.keys()
        assert batch["name"] == plain["name"]
        for name in ("image", "mask", "index"):
            assert torch.equal(batch[name], plain[name])
    assert moved == ([(torch.device("cpu"), False)] * 3 if fast else [])
    assert next(order, None) is None


def test_fast_and_plain_training_agree_up_to_rounding(train: Any, scenes: Any) -> None:
    """LoRA added by addmm, the fused optimiser, batches of our own."""
    lora = LoRA(rank=2, alpha=3.0, dropout=0.3)
    options = {"epochs": 2, "batch_size": 2, "warmup_steps": 0}
    train_set, _ = scenes(num_train=6, hflip=0.5).train_and_val(seed=0)
    fast, plain = (
        train(name, model=model_of(0, lora=lora), train_set=train_set, fast=name == "fast", **options)
        for name in ("fast", "plain")
    )
    adapted = [[module for module in model.modules() if hasattr(module, "lora_A")] for model in (fast, plain)]
    assert [sum("forward" in vars(module) for module in modules) for modules in adapted] == [10, 0]
    start = model_of(0, lora=lora).state_dict()
    weights = plain.state_dict()
    moved = [name for name, value in weights.items() if not torch.equal(value, start[name])]
    assert sum(".lora_B" in name for name in moved) == 10
    for name, value in fast.state_dict().items():
        if not name.endswith("k_proj.bias"):  # its gradient is nothing but rounding, which Adam scales up
            torch.testing.assert_close(value, weights[name], rtol=0, atol=2e-5)
