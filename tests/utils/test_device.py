"""What a device can do."""

import sys

import pytest
import torch

from ipsam.utils.device import keep_freed_memory, matrix_rate


@pytest.mark.parametrize("bf16", [False, True])
def test_measuring_the_rate_draws_no_random_numbers(bf16: bool) -> None:
    state = torch.get_rng_state()
    assert matrix_rate(torch.device("cpu"), bf16=bf16, side=64) > 0
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told")
def test_freed_memory_is_used_again() -> None:
    """Without it the kernel clears every page of all three tensors again at each step."""
    import resource

    def num_faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensors = [torch.ones(6 << 20) for _ in range(3)]
        assert len(tensors) == 3
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_freed_memory()
    assert min(num_faults() for _ in range(4)) < 3 * (24 << 20) / resource.getpagesize() / 2
