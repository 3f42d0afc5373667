"""Random generators resume where they were."""

import random

import numpy as np
import pytest
import torch

from ipsam.utils.rng import rng_state, seed_everything, set_rng_state


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), torch.rand(()).item()


def test_generators_resume_where_they_were() -> None:
    np.random.randn()  # leaves a cached second value behind, which is part of the state
    random.gauss(0, 1)
    state = rng_state()
    first = [draw() for _ in range(3)]
    gauss = random.gauss(0, 1), float(np.random.randn())
    set_rng_state(state)
    assert [draw() for _ in range(3)] == first
    assert (random.gauss(0, 1), float(np.random.randn())) == gauss


def test_seed_is_for_all_generators() -> None:
    draws = []
    for _ in range(2):
        seed_everything(7)
        draws.append(draw())
    assert draws[0] == draws[1]


@pytest.mark.usefixtures("untyped")
def test_damaged_state_is_refused() -> None:
    state = rng_state()
    state["numpy"][1] = torch.zeros(3)
    with pytest.raises(ValueError, match="the state of numpy's generator is damaged"):
        set_rng_state(state)
