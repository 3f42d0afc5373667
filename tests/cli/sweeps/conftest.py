"""Sweeps of a command that is none of ours, as training takes too long."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipsam.cli.sweeps import launcher

FAKE = """
import json, os, signal, sys, time
from pathlib import Path

given = dict(one.split("=", 1) for one in sys.argv[2:] if "=" in one)
folder = Path(given.get("run_dir", f"outputs/{given['experiment']}/seed{given.get('seed', 0)}").strip('"'))
log = Path("calls.jsonl")

def note(**what):
    with log.open("a") as file:
        file.write(json.dumps({"arguments": sys.argv[1:], "time": time.monotonic(), **what}) + "\\n")

note(kind="begin", folder=str(folder), device=os.environ.get("CUDA_VISIBLE_DEVICES"),
     full=os.environ.get("HYDRA_FULL_ERROR"))
signal.signal(signal.SIGTERM, lambda *_: (note(kind="stopped"), sys.exit(143)))
BODY
time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
score = float(given.get("engine.lr", 1))
scores = {"num_images": 3, **dict.fromkeys(("mae", "fw", "sm", "em", "mdice", "miou"), score)}
(folder / "eval").mkdir(parents=True, exist_ok=True)
(folder / "eval" / "metrics.json").write_text(json.dumps({"datasets": {"own": scores}}))
note(kind="end", folder=str(folder), device=os.environ.get("CUDA_VISIBLE_DEVICES"))
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Replace the command by one that runs ``body``; return its notes, in order."""

    def replace(body: str = "") -> Callable[[], list[dict[str, Any]]]:
        path = tmp_path / "fake.py"
        path.write_text(FAKE.replace("BODY", body))
        monkeypatch.setattr(launcher, "COMMAND", (sys.executable, str(path)))
        monkeypatch.setattr(launcher, "PAUSE", 0.02)
        return lambda: [json.loads(line) for line in Path("calls.jsonl").read_text().splitlines()]

    return replace
