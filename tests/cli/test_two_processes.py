"""Two processes at the same time in one folder."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.small_run import SCRIPTS, TINY

TRAIN = (*TINY, "data.synthetic.num_train=8", "engine.num_workers=2")
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a script; kill what still runs at the end."""
    started: list[subprocess.Popen[str]] = []

    def one(name: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPTS / f"{name}.py"), *arguments]
        options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, env=os.environ | environment, **options))
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.communicate()


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)


def in_use(pid: int) -> str:
    return rf"error: run is in use by process {pid} on {re.escape(socket.gethostname())} since .*run_dir="


@pytest.mark.slow
def test_running_training_locks_its_folder(start: Start, script: Callable[..., Any]) -> None:
    first = start("train", *TRAIN, "engine.epochs=3000", "engine.keep=1000")
    wait_for(Path("run/config.yaml"), first)
    for option in ("engine.lr=0.5", "resume=true", "overwrite=true"):
        done = script("train", *TRAIN, "engine.epochs=3000", option)
        assert done.status == 1
        assert re.search(in_use(first.pid), done.err)
    wait_for(Path("run/checkpoints/last"), first)
    config = Path("run/config.yaml").read_text()
    assert script("eval", "ckpt=run", "out=scores").status == 0  # reading is free
    assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert "already holds a run" in script("train", *TRAIN, "engine.epochs=3000").err
    assert Path("run/config.yaml").read_text() == config
    assert script("train", *TRAIN, "engine.epochs=1", "overwrite=true").status == 0


@pytest.mark.slow
def test_all_processes_of_a_second_training_are_refused(start: Start) -> None:
    first = start("train", *TRAIN, "engine.epochs=3000")
    wait_for(Path("run/config.yaml"), first)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    common = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for other in [start("train", *TRAIN, "resume=true", RANK=rank, LOCAL_RANK=rank, **common) for rank in "01"]:
        _, told = other.communicate(timeout=120)
        assert other.returncode == 1
        assert re.search(in_use(first.pid), told)
    assert first.poll() is None


@pytest.mark.slow
def test_two_processes_share_the_steps_of_a_plan_and_print_it_once() -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    command = [sys.executable, *launcher, str(SCRIPTS / "train.py"), *TRAIN, "engine.epochs=3", "plan=true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.count("steps: 6, 3 epochs of 2\n") == 1  # 8 scenes by 2 x 2
    assert done.stdout.count("parameters: ") == 1
    assert not Path("run").exists()
