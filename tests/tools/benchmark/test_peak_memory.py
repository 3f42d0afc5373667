import pytest
import torch
from support.builders import micro_model
from torch import nn

from ipsam.tools.benchmark.memory import held_by, peak_of

CPU = torch.device("cpu")
MILLION = 4_000_000  # bytes of a million floats


def floats() -> torch.Tensor:
    return torch.empty(1000, 1000)


def test_the_highest_is_told_not_the_sum() -> None:
    def two_at_a_time() -> None:
        first = floats()
        second = first.clone()
        del first
        third = second.clone()
        del second, third

    assert peak_of(two_at_a_time, CPU) == pytest.approx(2 * MILLION, rel=1e-3)


def test_what_was_there_before_does_not_count() -> None:
    before = [floats(), floats()]

    def release_and_take() -> None:
        before.clear()
        floats()

    assert peak_of(release_and_take, CPU) == pytest.approx(MILLION, rel=1e-3)


def test_a_step_takes_what_can_be_counted_by_hand() -> None:
    """Three sigmoids and the ones are there when the backward pass begins; its second step reads the first's result."""
    image = floats().normal_().requires_grad_()

    def step() -> None:
        hidden = image
        for _ in range(3):
            hidden = hidden.sigmoid()
        hidden.backward(torch.ones_like(hidden))

    assert peak_of(step, CPU) == pytest.approx(6 * MILLION, rel=1e-3)


def test_a_model_holds_weights_and_moments() -> None:
    model = nn.Sequential(nn.Linear(9, 10), nn.Linear(10, 1).requires_grad_(False))
    assert held_by(model) == 4 * (100 + 11)
    assert held_by(model, trains=True) == 4 * (3 * 100 + 11)
    whole = micro_model()
    assert held_by(whole) == sum(tensor.nbytes for tensor in whole.state_dict().values())
