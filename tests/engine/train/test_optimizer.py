"""The fused optimiser step, and how it is left out."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ipsam.engine.train.optimizer import SkippableAdamW

GOOD, BAD = torch.zeros(()), torch.ones(())


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 20), nn.GELU(), nn.Linear(20, 2))


def optimizer_of(network: nn.Module, *, fused: bool) -> SkippableAdamW:
    return SkippableAdamW(list(network.parameters()), lr=1e-2, weight_decay=0.1, fused=fused)


def give_gradients(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def weights(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def test_fused_and_plain_steps_agree(network: nn.Module) -> None:
    """Up to the rounding of ten steps in fp32."""
    other = deepcopy(network)
    fused, plain = optimizer_of(network, fused=True), optimizer_of(other, fused=False)
    for seed in range(10):
        give_gradients(network, seed)
        give_gradients(other, seed)
        fused.step_unless(GOOD, lr=1e-2)
        plain.step_unless(GOOD, lr=1e-2)
    for one, two in zip(weights(network), weights(other), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_bad_step_changes_nothing(network: nn.Module, fused: bool, first: bool) -> None:
    """Neither weights nor moments, nor the count of steps: the next one is as if it had not been."""
    other = deepcopy(network)
    one, two = optimizer_of(network, fused=fused), optimizer_of(other, fused=fused)
    if not first:
        for model, optimizer in ((network, one), (other, two)):
            give_gradients(model, 1)
            optimizer.step_unless(GOOD, lr=1e-2)
    before = weights(network)
    give_gradients(network, 2)
    assert network[0].weight.grad is not None
    network[0].weight.grad[0, 0] = float("nan")
    one.step_unless(BAD, lr=1e-2)
    assert all(torch.equal(*pair) for pair in zip(weights(network), before, strict=True))
    assert all(parameter.grad is None for parameter in network.parameters())
    for model, optimizer in ((network, one), (other, two)):
        give_gradients(model, 3)
        optimizer.step_unless(GOOD, lr=1e-2)
    assert all(torch.equal(*pair) for pair in zip(weights(network), weights(other), strict=True))


def test_learning_rate_is_applied(network: nn.Module) -> None:
    before = weights(network)
    optimizer = SkippableAdamW(list(network.parameters()), lr=1.0, weight_decay=0.0)
    give_gradients(network, 0)
    optimizer.step_unless(GOOD, lr=1e-3)
    moved = max(float((after - start).abs().max()) for after, start in zip(weights(network), before, strict=True))
    assert moved == pytest.approx(1e-3, rel=1e-2)


def test_fused_step_does_not_wait_for_the_device(network: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = optimizer_of(network, fused=True)
    give_gradients(network, 0)

    def asked(*_: Any) -> None:
        raise AssertionError("the host waits for the device")

    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy"):
        monkeypatch.setattr(Tensor, name, asked)
    optimizer.step_unless(GOOD, lr=1e-2)
