"""What a device can do."""

import pytest
import torch

from ipsam.utils.device import matrix_rate


@pytest.mark.parametrize("bf16", [False, True])
def test_measuring_the_rate_draws_no_random_numbers(bf16: bool) -> None:
    state = torch.get_rng_state()
    assert matrix_rate(torch.device("cpu"), bf16=bf16, side=64) > 0
    assert torch.equal(torch.get_rng_state(), state)
