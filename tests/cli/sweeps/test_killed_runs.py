"""A sweep through submitit's local executor whose runs are killed ends as one that is left alone."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("submitit")

SWEEP = (
    *("-m", "+scale=toy", "experiment=ablation/spg", "engine.lr=1e-3,2e-3"),
    *("data.image_size=64", "data.synthetic.num_train=10", "data.synthetic.num_test=2", "data.val_fraction=0.2"),
    *("engine.epochs=5", "engine.batch_size=2", "engine.save_every=1", "engine.keep=1", "engine.cpu=true"),
)
CLUSTER = ("hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.gpus_per_node=null")
VICTIM = Path("ablation/spg/engine.lr=0.002/seed0")


def start(folder: Path, *launcher: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "ipsam", "train", *SWEEP, *launcher]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, **options)  # type: ignore[call-overload,no-any-return]


def newest(run: Path) -> str:
    return max((path.name for path in run.glob("checkpoints/step_*")), default="")


def kill(run: Path, number: int, former: int) -> int:
    """Send a signal to the process that trains, other than the former, once it has saved something; return it."""
    pid, before, until = former, None, time.monotonic() + 600
    while before is None or newest(run) <= before:
        assert time.monotonic() < until, f"nothing new after {before}"
        time.sleep(0.01)
        with suppress(OSError, IndexError):  # not there, or not written yet
            pid = int((run / ".lock").read_text().split()[0])
        if before is None and pid != former:
            before = newest(run)
    os.kill(pid, number)
    return pid


@pytest.mark.slow
def test_killed_sweep_ends_as_one_left_alone(tmp_path: Path) -> None:
    """Two by SIGKILL, which submits it again, and one by SIGTERM, which has it saved and queued again."""
    for name in ("left", "killed"):
        (tmp_path / name).mkdir()
    left = start(tmp_path / "left", "hydra.launcher.devices=[cpu,cpu]")
    printed = left.communicate()[0]
    assert left.returncode == 0, printed
    killed = start(tmp_path / "killed", *CLUSTER)
    run = tmp_path / "killed/outputs/toy" / VICTIM
    pid = 0
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        pid = kill(run, number, pid)
    printed = killed.communicate()[0]
    assert killed.returncode == 0, printed
    assert printed.count("was killed: it is started again") == 2
    assert (run / "train.log").read_text().count("resumed from") == 3
    folders = sorted(path.parent.relative_to(tmp_path / "left") for path in tmp_path.glob("left/outputs/toy/**/eval"))
    assert len(folders) == 2
    for folder in folders:
        for name in ("checkpoints/last/model.safetensors", "eval/metrics.json", "eval/per_image.csv"):
            assert (tmp_path / "killed" / folder / name).read_bytes() == (
                tmp_path / "left" / folder / name
            ).read_bytes()
    for name in ("left", "killed"):
        (table,) = (tmp_path / name).glob("outputs/sweeps/*/sweep.csv")
        rows = list(csv.DictReader(table.read_text().splitlines()))
        assert [row["result"] for row in rows] == ["done"] * 2
        assert {row["starts"] for row in rows} == ({"1"} if name == "left" else {"1", "3"})
    tables = [sys.executable, "-m", "ipsam", "tables"]
    subprocess.run(tables, cwd=tmp_path / "killed", check=True, capture_output=True)
    filled = list(csv.DictReader((tmp_path / "killed/outputs/tables/other.csv").read_text().splitlines()))
    assert {(row["run"], row["num_seeds"]) for row in filled} == {("toy/ablation/spg", "1")}
    assert len({row["mean"] for row in filled if row["metric"] == "mae"}) == 2
