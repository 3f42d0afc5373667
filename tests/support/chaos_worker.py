"""Trains again and again in processes that are killed: python chaos_worker.py FOLDER SEED, see test_chaos.py.

Every run is a fork of this process, so that the seconds of importing are spent once.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from ipsam.cli.errors import user_errors
from ipsam.model import LoRA
from ipsam.utils.rng import seed_everything
from support.builders import micro_model
from support.defaults import data_with, settings_with
from support.training import fit

KILLS = 20
IN_SAVING = 10  # of them, at a call that writing a checkpoint takes
ASKED = 3  # SIGTERM besides
MOST = 200  # runs, before this is given up

DATA = data_with(
    image_size=64,
    root=".",
    train=["synthetic"],
    val=["synthetic"],
    augment={"hflip": 0.5},
    synthetic={"difficulty": [0.0, 0.1], "num_train": 14, "num_test": 2},
)
SETTINGS = settings_with(
    epochs=4,
    batch_size=2,
    accumulate=2,
    lr=1e-3,
    warmup_steps=2,
    cpu=True,
    precision="fp32",
    num_workers=1,
    log_every=1,
    save_every=1,
    val_every=2,
)


def run(folder: Path) -> None:
    """Continue the run from its last checkpoint."""
    torch.set_num_threads(1)
    seed_everything(0)
    model = micro_model(lora=LoRA(rank=2, dropout=0.3))
    train_set, val_set = DATA.train_and_val(0)
    with user_errors():
        fit(model, train_set, folder, SETTINGS, val_set=val_set, resume=True)


def killed_in_saving(after: int) -> None:
    """Have this process end itself at a call that writing a checkpoint takes, some calls from now.

    Processes that read data inherit this, but end only when they are asked to.
    """
    left, process = [after], os.getpid()
    for owner, name in ((os, "fsync"), (os, "replace"), (Path, "rename"), (Path, "symlink_to"), (shutil, "rmtree")):
        original = getattr(owner, name)

        def call(*arguments: Any, _original: Any = original, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and os.getpid() == process:
                os.kill(process, signal.SIGKILL)
            return _original(*arguments, **options)

        setattr(owner, name, call)


def fork(folder: Path, log: Path, *, kill_at: int = 0) -> int:
    """Start a run; returns its process number."""
    child = os.fork()
    if child == 0:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        status = 1
        try:
            if kill_at:
                killed_in_saving(kill_at)
            run(folder)
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                os.write(2, end.code.encode())
        finally:
            os._exit(status)
    return child


def wait(child: int) -> int:
    """The status of a process that has ended: negative for a signal."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def main(folder: Path, seed: int) -> None:
    """Once without interruption, then through every kind of death; prints what happened as JSON."""
    rng = random.Random(seed)
    begun = time.monotonic()
    if wait(fork(folder / "straight", folder / "straight.log")) != 0:
        sys.exit((folder / "straight.log").read_text())
    whole = time.monotonic() - begun

    deaths = ["kill"] * (KILLS - IN_SAVING) + ["save"] * IN_SAVING + ["ask"] * ASKED
    rng.shuffle(deaths)
    told = {"killed": 0, "killed in saving": 0, "asked": 0, "asked too soon": 0, "finished early": 0, "runs": 0}
    while deaths and told["runs"] < MOST:
        told["runs"] += 1
        kind = deaths[-1]
        child = fork(folder / "chaos", folder / "chaos.log", kill_at=rng.randint(1, 40) if kind == "save" else 0)
        if kind != "save":
            time.sleep(rng.uniform(0, 0.4 * whole))
            os.kill(child, signal.SIGKILL if kind == "kill" else signal.SIGTERM)
        status = wait(child)
        if status == 0:  # it was faster: once more from the beginning
            told["finished early"] += 1
            shutil.rmtree(folder / "chaos")
        elif status == -signal.SIGKILL:
            told["killed in saving" if kind == "save" else "killed"] += 1
            deaths.pop()
        elif kind == "ask" and status == 128 + signal.SIGTERM:  # it saved first
            told["asked"] += 1
            deaths.pop()
        elif kind == "ask" and status == -signal.SIGTERM:  # before there was anything to save: asked again
            told["asked too soon"] += 1
        else:
            sys.exit(f"status {status} of a run to be ended by {kind}:\n{(folder / 'chaos.log').read_text()}")
    if wait(fork(folder / "chaos", folder / "chaos.log")) != 0:
        sys.exit((folder / "chaos.log").read_text())
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
