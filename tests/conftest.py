"""Shared fixtures. This file also puts ``tests/`` on the import path, which is how tests find ``builders``."""

from pathlib import Path

import pytest
import torch
from builders import micro_backbone, save_official_format


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, alone or in any order."""
    torch.manual_seed(0)


@pytest.fixture
def micro_checkpoint(tmp_path: Path) -> Path:
    """Random weights of the micro backbone (64 px) in a file like SAM2's."""
    return save_official_format(tmp_path / "random_micro.pt", micro_backbone())
