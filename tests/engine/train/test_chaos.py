"""Chaos: a run killed at random moments, also while it saves, ends like an undisturbed one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.training import same
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ipsam.engine.runs.checkpoint import load_training

WORKER = str(Path(__file__).parents[2] / "support" / "chaos_worker.py")


def losses(folder: Path) -> dict[int, float]:
    """Read TensorBoard's losses by step; the later of two entries counts."""
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {event.step: event.value for event in accumulator.Scalars("loss/total")}


@pytest.mark.slow
def test_killed_and_resumed_run_is_bit_exact(tmp_path: Path) -> None:
    seed = int(os.environ.get("IPSAM_CHAOS_SEED", "0"))
    done = subprocess.run(
        [sys.executable, WORKER, str(tmp_path), str(seed)], capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr[-5000:]
    report = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(f"{report}\n")
    assert report["killed"] + report["killed in saving"] >= 20
    assert report["killed in saving"] >= 10
    assert report["asked"] == 3
    log = (tmp_path / "chaos.log").read_text()
    assert log.count("continue with resume=true") == 3

    straight, chaos = (tmp_path / name / "checkpoints" / "last" for name in ("straight", "chaos"))
    assert (straight / "model.safetensors").read_bytes() == (chaos / "model.safetensors").read_bytes()
    one, two = load_training(straight), load_training(chaos)
    assert same(one, two)  # optimiser, random generators, history of the metrics
    assert len(one["progress"]["history"]) == 2
    assert one["progress"]["step"] == 4 * 4
    assert losses(tmp_path / "straight/tensorboard") == losses(tmp_path / "chaos/tensorboard")
    kept = sorted(path.name for path in (tmp_path / "chaos/checkpoints").iterdir() if not path.name.startswith("."))
    assert kept[:2] == ["best", "last"]
    assert 2 <= len(kept) - 2 <= 3  # the newest two, and the best
