"""A run that receives a signal saves and can be resumed."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.quick import every
from support.training import same

from ipsam.data import TestSet
from ipsam.engine.evaluate import evaluator
from ipsam.engine.runs.checkpoint import load_training
from ipsam.engine.train import trainer
from ipsam.utils import signals as stopping
from ipsam.utils.signals import Stop, StoppedError


@pytest.fixture(autouse=True)
def receive_signals() -> Iterator[None]:
    """Let signals arrive: the tests may run in the background or under ``nohup``, where some are ignored."""
    handlers = {signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    former = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture
def signal_at(at_forward_pass: Any) -> Any:
    """Sends this process a signal in the middle of a forward pass."""
    return lambda forward_pass, number: at_forward_pass(forward_pass, lambda _: os.kill(os.getpid(), number))


def progress(folder: Path) -> Any:
    return load_training(folder / "checkpoints" / "last")["progress"]


@pytest.mark.parametrize(
    ("number", "forward_pass", "step"),
    every(
        5,
        [
            (signal.SIGTERM, 3, 2),
            (signal.SIGINT, 4, 2),
            (signal.SIGHUP, 4, 2),
            (signal.SIGTERM, 1, 1),
            (signal.SIGUSR2, 1, 1),
        ],
    ),
)
def test_stopped_run_is_saved_and_resume_is_bit_exact(
    tmp_path: Path, train: Any, signal_at: Any, number: int, forward_pass: int, step: int
) -> None:
    """The run stops at the next optimiser step, of two forward passes, or at the end of the epoch."""
    settings = {"epochs": 3, "batch_size": 1, "accumulate": 2}
    straight = train("one", **settings)
    signal_at(forward_pass, number)
    with pytest.raises(StoppedError, match=rf"stopped on request at step {step} of 6; .*continue with resume=true"):
        train("two", **settings)
    assert progress(tmp_path / "two")["step"] == step
    resumed = train("two", seed=2, resume=True, **settings)
    assert same(straight.state_dict(), resumed.state_dict())


def test_stop_at_the_last_step_finishes_the_run(tmp_path: Path, train: Any, signal_at: Any) -> None:
    signal_at(4, signal.SIGTERM)
    train(batch_size=1)
    assert progress(tmp_path)["epoch"] == 1


@pytest.mark.slow
def test_stop_saves_before_validation(
    tmp_path: Path, train: Any, test_set: TestSet, signal_at: Any, monkeypatch: Any
) -> None:
    """Validation may take longer than a cluster waits; it runs after resuming."""
    settings = {"epochs": 2, "save_every": 100, "val_set": test_set}
    straight = train("one", **settings)
    signal_at(2, signal.SIGTERM)  # the last of the first epoch
    validate, scored = trainer.validate, []
    monkeypatch.setattr(trainer, "validate", lambda *given: scored.append(1) or validate(*given))
    with pytest.raises(StoppedError):
        train("two", **settings)
    assert scored == []
    resumed = train("two", seed=2, resume=True, **settings)
    assert len(scored) == 2
    assert same(straight.state_dict(), resumed.state_dict())
    assert progress(tmp_path / "one") == progress(tmp_path / "two")
    one, two = ((tmp_path / name / "checkpoints" / "best").readlink() for name in ("one", "two"))
    assert one == two


@pytest.mark.slow
def test_stop_in_validation_ends_all_its_processes(
    tmp_path: Path, train: Any, scenes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster signals every process; those that read and score continue until validation is done."""
    of_other_tests = set(multiprocessing.active_children())  # a loader that was not collected keeps its process
    train_set, val_set = scenes(num_train=4).train_and_val(seed=0)[0], scenes(num_test=24).test_sets()["synthetic"]
    val_set.source = replace(val_set.source, size=300)  # too large for a pipe
    settings = {"train_set": train_set, "val_set": val_set, "epochs": 2, "num_workers": 1, "eval_batch_size": 1}
    straight = train("one", **settings)
    forward, calls = evaluator.forward, []

    def signalled(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 12:
            children = set(multiprocessing.active_children()) - of_other_tests
            assert len(children) == 3  # two read, one scores
            for pid in (*(child.pid for child in children), os.getpid()):
                os.kill(pid, signal.SIGTERM)
        return forward(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(evaluator, "forward", signalled)
        with pytest.raises(StoppedError, match=r"stopped on request at step 2 of 4"):
            train("two", **settings)
    resumed = train("two", seed=2, resume=True, **settings)
    assert same(straight.state_dict(), resumed.state_dict())
    assert progress(tmp_path / "one") == progress(tmp_path / "two")


FAILS = """
import sys
from pathlib import Path
import torch
from support.builders import micro_model
from support.defaults import data_with, settings_with
from ipsam.engine.train import trainer
from support.training import fit

def loss(*_):
    raise RuntimeError("CUDA out of memory")

trainer.ipsam_loss = loss
scenes = {"difficulty": [0, 0.1], "num_train": 40, "num_test": 1}
data = data_with(image_size=64, root=".", train=["synthetic"], test=["synthetic"], synthetic=scenes, augment={})
settings = settings_with(epochs=1, batch_size=2, num_workers=1, cpu=True)
fit(micro_model(), data.train_and_val(0)[0], Path(sys.argv[1]), settings)
"""


@pytest.mark.slow
def test_uncaught_error_ends_the_run(tmp_path: Path) -> None:
    """Although a reading process, which ignores signals, is still alive."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", FAILS, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "RuntimeError: CUDA out of memory" in done.stderr


@pytest.mark.parametrize(
    ("number", "duplicates"),
    [(signal.SIGINT, 0), *((number, 2) for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1))],
)
def test_second_request_ends_the_process(monkeypatch: pytest.MonkeyPatch, number: int, duplicates: int) -> None:
    """A cluster signals every process and torchrun, which signals its own again: within seconds that is one request."""
    now, died = [100.0], []
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    former = signal.signal(number, lambda number, _: died.append(number))
    try:
        with Stop() as stop:
            for _ in range(1 + duplicates):
                os.kill(os.getpid(), number)
                now[0] += 2
            assert stop.requested
            assert died == []
            os.kill(os.getpid(), number)
            assert died == [number]
    finally:
        signal.signal(number, former)


def test_ignored_signals_stay_ignored() -> None:
    """As ``nohup`` asks for: the terminal may be closed, and the run goes on."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, former)


def test_other_threads_ignore_signals() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: Stop().__enter__().requested).result() is False
