"""The fused optimiser step, and skipped steps."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from support.training import same
from torch import Tensor, nn

from ipsam.engine.train.optimizer import SkippableAdamW

GOOD, BAD = torch.zeros(()), torch.ones(())


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 20), nn.GELU(), nn.Linear(20, 2))


def optimizer_of(network: nn.Module, *, fused: bool) -> SkippableAdamW:
    return SkippableAdamW(list(network.parameters()), lr=1e-2, weight_decay=0.1, fused=fused)


def step(network: nn.Module, optimizer: SkippableAdamW, seed: int, lr: float = 1e-2) -> None:
    give_gradients(network, seed)
    optimizer.step_unless(GOOD, lr=lr)


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
        step(network, fused, seed)
        step(other, plain, seed)
    for one, two in zip(weights(network), weights(other), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_bad_step_changes_nothing(network: nn.Module, fused: bool, first: bool) -> None:
    """Neither weights nor moments nor the count of steps, so that the next step is not affected."""
    other = deepcopy(network)
    pairs = [(network, optimizer_of(network, fused=fused)), (other, optimizer_of(other, fused=fused))]
    if not first:
        for pair in pairs:
            step(*pair, seed=1)
    before = weights(network)
    give_gradients(network, 2)
    network[0].weight.grad[0, 0] = float("nan")
    pairs[0][1].step_unless(BAD, lr=1e-2)
    assert same(weights(network), before)
    assert all(parameter.grad is None for parameter in network.parameters())
    for pair in pairs:
        step(*pair, seed=3)
    assert same(weights(network), weights(other))


def test_learning_rate_is_applied(network: nn.Module) -> None:
    before = weights(network)
    step(network, SkippableAdamW(list(network.parameters()), lr=1.0, weight_decay=0.0), seed=0, lr=1e-3)
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
