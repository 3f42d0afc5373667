"""Random generators go on where they were."""

import random

import numpy as np
import torch

from ipsam.utils.rng import rng_state, seed_everything, set_rng_state


def test_random_generators_go_on_where_they_were() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(()).item()

    np.random.randn()  # leaves a cached second value behind, which is part of the state
    random.gauss(0, 1)
    state = rng_state()
    first = [draw() for _ in range(3)]
    gauss = random.gauss(0, 1), float(np.random.randn())
    set_rng_state(state)
    assert [draw() for _ in range(3)] == first
    assert (random.gauss(0, 1), float(np.random.randn())) == gauss


def test_seeds_are_of_everything() -> None:
    draws = []
    for _ in range(2):
        seed_everything(7)
        draws.append((random.random(), float(np.random.rand()), torch.rand(()).item()))
    assert draws[0] == draws[1]
