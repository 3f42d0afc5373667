"""The memory of a step is estimated before it runs, and kept within a limit."""

import logging
import re
from typing import Any

import pytest
import torch
from support.builders import micro_model
from support.defaults import loss_weights_with
from support.training import model_of, same
from torch.profiler import ProfilerActivity, profile

from ipsam.engine.train import memory as step
from ipsam.engine.train.losses import ipsam_loss
from ipsam.engine.train.memory import GB, StepMemory, num_recomputed, out_of_memory_explained, step_memory
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


@pytest.mark.slow
@pytest.mark.parametrize("num_recomputed", [0, 5])
def test_estimate_matches_the_measured_peak(num_recomputed: int) -> None:
    model = micro_model(image_size=128, lora=LoRA(rank=4))
    memory = step_memory(model, batch_size=2, device=CPU, bf16=False)
    recompute_blocks(model, num_recomputed)
    peak, estimate = measured(model), memory.peak(num_recomputed) - memory.fixed
    assert peak <= estimate <= 1.35 * peak


@pytest.mark.slow
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


@pytest.mark.parametrize("options", [{}, {"activation_checkpointing": True, "precision": "bf16", "compile": False}])
def test_exhausted_memory_names_the_settings(
    train: Any, at_forward_pass: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    def exhaust(_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    at_forward_pass(2, exhaust)
    monkeypatch.setattr(step, "available_memory", lambda _: GB)
    with pytest.raises(ValueError, match=r"ran out in a training step of engine.batch_size=2 images of") as error:
        train(model=model_of(1, lora=LoRA(rank=4)), **options)
    assert "data.image_size=64 px of the 1.00 GB that are available here: it takes about 0.0" in str(error.value)
    proposed = "engine.batch_size=1" if options else r"engine.memory_gb=0.0\d engine.batch_size=1 engine.accumulate=2"
    assert re.search(f"Start again with {proposed}.*data.image_size", str(error.value)[-130:])


@pytest.mark.parametrize(
    ("available", "num_blocks", "given"),
    [
        (0.55, 0, {"memory_gb": float}),  # in GB; the step takes 0.53, or 0.44 with all blocks recomputed
        (None, 2, {"memory_gb": float}),
        (0.3, 0, {"batch_size": int, "accumulate": int, "memory_gb": float}),
    ],
)
def test_proposed_settings_fit(
    make_settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    available: float | None,
    num_blocks: int,
    given: dict[str, type],
) -> None:
    model = micro_model(image_size=128, lora=LoRA(rank=4))
    settings = make_settings(batch_size=64, accumulate=2)
    memory = step_memory(model, batch_size=64, device=CPU, bf16=False)
    monkeypatch.setattr(step, "available_memory", lambda _: available and int(available * GB))
    recompute_blocks(model, num_blocks)
    with pytest.raises(ValueError, match="engine") as error, out_of_memory_explained(model, settings, num_blocks):
        raise torch.OutOfMemoryError
    proposed = {
        name: kind(re.search(rf"engine\.{name}=([\d.]+)[ ,]", str(error.value).partition("it takes")[2])[1])  # type: ignore[index]
        for name, kind in given.items()
    }
    fresh = micro_model(image_size=128, lora=LoRA(rank=4))
    settings = make_settings(**{"batch_size": 64, "accumulate": 2} | proposed)
    assert settings.batch_size * settings.accumulate == 128
    count = num_recomputed(fresh, settings)
    assert count is not None
    assert count > num_blocks
    smaller = step_memory(fresh, batch_size=settings.batch_size, device=CPU, bf16=False).peak(count)
    assert smaller <= 0.92 * min(memory.peak(num_blocks), GB * (available or 99))


def test_single_image_too_large_gets_a_smaller_size(make_settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "available_memory", lambda _: 50 << 20)
    settings = make_settings(batch_size=1)
    with (
        pytest.raises(
            ValueError, match=r"Start again with engine.memory_gb=0.05 engine.batch_size=1 data.image_size="
        ) as error,
        out_of_memory_explained(micro_model(image_size=512, lora=LoRA(rank=4)), settings, None),
    ):
        raise torch.OutOfMemoryError
    side = int(re.findall(r"image_size=(\d+) or lower", str(error.value))[0])
    memory = step_memory(micro_model(image_size=side, lora=LoRA(rank=4)), batch_size=1, device=CPU, bf16=False)
    assert memory.peak(5) <= 50 << 20
