"""Telemetry in the log, and the profile of some steps."""

import gzip
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from ipsam.engine.train import telemetry
from ipsam.engine.train.telemetry import peak_memory

LINE = (
    r"step 1 of 2: loss \d\.\d{4}, learning rate 5\.0e-04, gradient norm [\d.e+]+, [\d.e+]+ images/s, \d+% of the time "
    r"waiting for data, peak memory \d+\.\d\d GB, 0 skipped, \d\d:\d\d left"
)


@pytest.mark.parametrize(("interval", "num_lines"), [(1e9, 1), (0.0, 2)])
def test_log_line_names_speed_memory_and_time_left(
    train: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch, interval: float, num_lines: int
) -> None:
    monkeypatch.setattr(telemetry, "INTERVAL", interval)
    with caplog.at_level(logging.INFO):
        train()
    lines = [line for line in caplog.messages if " images/s" in line]
    assert len(lines) == num_lines
    assert re.fullmatch(LINE, lines[0])


def test_peak_memory_of_a_process() -> None:
    assert 50e6 < peak_memory(torch.device("cpu")) < 1e12


@pytest.mark.slow
def test_profile_has_the_steps_and_names_the_slowest_operators(tmp_path: Path, train: Any, caplog: Any) -> None:
    """Two steps an epoch: the profile ends with the epoch."""
    with caplog.at_level(logging.INFO):
        train(epochs=2, profile_steps=[2, 3])
    (path,) = (tmp_path / "tensorboard").iterdir()
    assert path.name == "steps_2_to_3.pt.trace.json.gz"  # as TensorBoard's plugin finds it
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    names = {event["name"] for event in events}
    assert "ProfilerStep#2" in names
    assert any("DataLoader" in name for name in names)
    (table,) = (line for line in caplog.messages if str(path) in line)
    assert "aten::" in table
    assert "Self CPU %" in table
