"""Shared fixtures. This file also puts ``tests/`` on the import path, which is how tests find ``builders``."""

import os
from pathlib import Path

import pytest
import torch
from builders import micro_backbone, save_official_format

# Micro models are too small to share between threads: on two busy cores, a second thread makes the tests seven times
# slower. Processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, alone or in any order."""
    torch.manual_seed(0)


@pytest.fixture
def micro_checkpoint(tmp_path: Path) -> Path:
    """Random weights of the micro backbone (64 px) in a file like SAM2's."""
    return save_official_format(tmp_path / "random_micro.pt", micro_backbone())
