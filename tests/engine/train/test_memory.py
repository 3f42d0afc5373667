"""The memory of a step is estimated before it runs, and kept within a limit."""

import logging
from typing import Any

import pytest
import torch
from support.builders import micro_model
from support.defaults import loss_weights_with
from support.quick import only
from support.training import model_of, same
from torch.profiler import ProfilerActivity, profile

from ipsam.engine.train.losses import ipsam_loss
from ipsam.engine.train.memory import GB, StepMemory, num_recomputed, step_memory
from ipsam.model import IPSAM, LoRA
from ipsam.model.activation_checkpointing import recompute_blocks

CPU = torch.device("cpu")


def measured(model: IPSAM) -> int:
    """Measure the bytes that one forward and backward pass allocates at its peak."""
    image, mask = torch.randn(2, 3, 128, 128), torch.zeros(2, 1, 128, 128)

    def step() -> None:
        ipsam_loss(model.train()(image), mask, loss_weights_with())["total"].backward()

    step()  # allocates the gradients
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = sorted(profiler.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    held = peak = 0
    for event in events:
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


@pytest.mark.parametrize("num_recomputed", only({5}, [0, 5]))
def test_estimate_matches_the_measured_peak(num_recomputed: int) -> None:
    model = micro_model(image_size=128, lora=LoRA(rank=4))
    memory = step_memory(model, batch_size=2, device=CPU, bf16=False)
    recompute_blocks(model, num_recomputed)
    peak, estimate = measured(model), memory.peak(num_recomputed) - memory.fixed
    assert peak <= estimate <= 1.35 * peak


def test_estimating_changes_no_model() -> None:
    model = micro_model(lora=LoRA(rank=4))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    step_memory(model, batch_size=2, device=CPU, bf16=True)
    assert same(model.state_dict(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_fewest_blocks_within_the_limit_are_recomputed() -> None:
    memory = StepMemory(fixed=10, outside=5, blocks=[30, 20, 10], inputs=[3, 2, 1])
    kept = [5 + 60, 5 + 30 + 3 + 30, 5 + 10 + 5 + 30, 5 + 6 + 30]
    peaks = [memory.peak(count) for count in range(4)]
    assert peaks == [10 + int(1.1 * some) for some in kept]  # 81, 84, 65, 55
    assert [memory.min_recomputed(limit) for limit in (90, 81, 80, 65, 55, 54)] == [0, 0, 2, 2, 3, None]


@pytest.mark.slow
def test_recomputing_blocks_changes_no_bit(train: Any, caplog: pytest.LogCaptureFixture) -> None:
    def state(folder: str, **settings: Any) -> dict[str, torch.Tensor]:
        return train(folder, model=model_of(1, lora=LoRA(rank=4)), **settings).state_dict()

    memory = step_memory(model_of(1, lora=LoRA(rank=4)), batch_size=2, device=CPU, bf16=False)
    straight = state("one")
    with caplog.at_level(logging.INFO):
        assert same(straight, state("two", memory_gb=memory.peak(2) / GB))
    assert "2 of 5 blocks recomputed: about 0.0" in caplog.text
    assert same(straight, state("three", activation_checkpointing=True))


def test_limit_too_small_is_named(make_settings: Any) -> None:
    with pytest.raises(ValueError, match=r"engine.memory_gb=0.001 is too small: .*takes about 0.0\d GB; raise it, or"):
        num_recomputed(micro_model(), make_settings(memory_gb=0.001))
