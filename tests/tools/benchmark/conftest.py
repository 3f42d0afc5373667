"""Benchmarks of the model at a size of seconds."""

from typing import Any

import pytest
from support.run_folders import CONFIGS

from ipsam.tools.benchmark import evaluation, inference, scaling, training


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a benchmark of the model; what no option tells is small too."""
    monkeypatch.setattr(inference, "NUM_FILES", {"cpu": 2})
    monkeypatch.setattr(scaling, "NUM_FILES", {"cpu": (1, 2)})
    monkeypatch.setattr(training, "NUM_STEPS", {"cpu": 2})
    monkeypatch.setattr(training, "WARM_UP", {"cpu": 0})
    monkeypatch.setattr(training, "NUM_PICTURES", 3)
    monkeypatch.setattr(evaluation, "NUM_IMAGES", 4)
    monkeypatch.setattr(evaluation, "NUM_FILES", 2)
    return {"configs": CONFIGS, "device": "cpu", "variant": "micro", "sizes": [64], "batches": [2], "repeats": 1}
