"""Optimiser steps that are skipped."""

from copy import deepcopy

import pytest
import torch
from support.training import same
from torch import nn

from ipsam.engine.train.optimizer import SkippableAdamW


def step(network: nn.Module, optimizer: SkippableAdamW, seed: int, *, bad: bool = False) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator) / (0 if bad else 1)
    optimizer.step_unless(torch.tensor(float(bad)), lr=1e-2)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_bad_step_changes_nothing(fused: bool, first: bool) -> None:
    """Neither weights nor moments nor the count of steps, so that the next step is not affected."""
    network = nn.Sequential(nn.Linear(10, 20), nn.GELU(), nn.Linear(20, 2))
    other = deepcopy(network)
    pairs = [
        (each, SkippableAdamW(list(each.parameters()), lr=1e-2, weight_decay=0.1, fused=fused))
        for each in (network, other)
    ]
    if not first:
        for pair in pairs:
            step(*pair, seed=1)
    before = deepcopy(network.state_dict())
    step(*pairs[0], seed=2, bad=True)
    assert same(network.state_dict(), before)
    assert all(parameter.grad is None for parameter in network.parameters())
    for pair in pairs:
        step(*pair, seed=3)
    assert same(network.state_dict(), other.state_dict())
    assert not same(network.state_dict(), before)
