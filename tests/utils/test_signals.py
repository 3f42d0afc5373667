"""Asked to stop, a run saves and can go on."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import fit, model_of

from ipsam.data import TestSet, TrainSet
from ipsam.engine.evaluate import evaluator
from ipsam.engine.runs.checkpoint import load_training
from ipsam.engine.train import trainer
from ipsam.utils import signals as stopping
from ipsam.utils.signals import Stop, StoppedError


@pytest.fixture
def signal_at(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sends this process a signal in the middle of a forward pass."""

    def at(forward_pass: int, number: int) -> None:
        loss, calls = trainer.ipsam_loss, []

        def signalled(*arguments: Any) -> dict[str, torch.Tensor]:
            calls.append(1)
            if len(calls) == forward_pass:
                os.kill(os.getpid(), number)
            return loss(*arguments)

        monkeypatch.setattr(trainer, "ipsam_loss", signalled)

    return at


@pytest.mark.parametrize(
    ("number", "forward_pass", "step"),
    [
        (signal.SIGTERM, 3, 2),
        (signal.SIGINT, 4, 2),
        *(pytest.param(signal.SIGTERM, at, step, marks=pytest.mark.slow) for at, step in ((1, 1), (2, 1), (5, 3))),
    ],
)
def test_stopped_run_is_saved_and_resume_is_bit_exact(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, signal_at: Any, number: int, forward_pass: int, step: int
) -> None:
    """At the next optimiser step, of two forward passes each; or, at the end of an epoch, after what it ends with."""
    settings = make_settings(epochs=3, batch_size=1, accumulate=2)
    straight = fit(model_of(1), train_set, tmp_path / "one", settings)
    with pytest.MonkeyPatch.context() as patch:
        loss = trainer.ipsam_loss
        signal_at(forward_pass, number)
        with pytest.raises(StoppedError, match=rf"stopped on request at step {step} of 6; .*continue with resume=true"):
            fit(model_of(1), train_set, tmp_path / "two", settings)
        patch.setattr(trainer, "ipsam_loss", loss)
        saved = load_training(tmp_path / "two" / "checkpoints" / "last")["progress"]
        assert saved["step"] == step
        resumed = fit(model_of(2), train_set, tmp_path / "two", settings, resume=True)
    assert all(torch.equal(tensor, resumed.state_dict()[key]) for key, tensor in straight.state_dict().items())


def test_stop_at_the_last_step_finishes_the_run(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, signal_at: Any
) -> None:
    signal_at(4, signal.SIGTERM)
    fit(model_of(1), train_set, tmp_path, make_settings(batch_size=1))
    assert load_training(tmp_path / "checkpoints" / "last")["progress"]["epoch"] == 1


def test_stop_saves_before_validation(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, test_set: TestSet, signal_at: Any, monkeypatch: Any
) -> None:
    """Validation may take longer than a cluster waits; it comes when the run goes on."""
    settings = make_settings(epochs=2, batch_size=2, save_every=100)
    straight = fit(model_of(1), train_set, tmp_path / "one", settings, val_set=test_set)
    signal_at(2, signal.SIGTERM)  # the last of the first epoch
    validate, scored = trainer.validate, []
    monkeypatch.setattr(trainer, "validate", lambda *given: scored.append(1) or validate(*given))
    with pytest.raises(StoppedError):
        fit(model_of(1), train_set, tmp_path / "two", settings, val_set=test_set)
    assert scored == []
    resumed = fit(model_of(2), train_set, tmp_path / "two", settings, val_set=test_set, resume=True)
    assert len(scored) == 2
    assert all(torch.equal(tensor, resumed.state_dict()[key]) for key, tensor in straight.state_dict().items())
    one, two = (load_training(tmp_path / name / "checkpoints" / "last")["progress"] for name in ("one", "two"))
    assert one == two
    links = [(tmp_path / name / "checkpoints" / "best").readlink() for name in ("one", "two")]
    assert links[0] == links[1]


def test_stop_in_validation_ends_all_its_processes(
    tmp_path: Path, make_settings: Any, scenes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster tells every process: those that read and those that score go on, until validation is done."""
    of_other_tests = set(multiprocessing.active_children())  # a loader that nobody collected keeps its process
    train_set, val_set = scenes(num_train=4).train_and_val(seed=0)[0], scenes(num_test=24).test_sets()["synthetic"]
    val_set.source = replace(val_set.source, size=300)  # too large for a pipe
    settings = make_settings(epochs=2, num_workers=1, eval_batch_size=1)
    straight = fit(model_of(1), train_set, tmp_path / "one", settings, val_set=val_set)
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
            fit(model_of(1), train_set, tmp_path / "two", settings, val_set=val_set)
    resumed = fit(model_of(2), train_set, tmp_path / "two", settings, val_set=val_set, resume=True)
    assert all(torch.equal(tensor, resumed.state_dict()[key]) for key, tensor in straight.state_dict().items())
    one, two = (load_training(tmp_path / name / "checkpoints" / "last")["progress"] for name in ("one", "two"))
    assert one == two


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


def test_uncaught_error_ends_the_run(tmp_path: Path) -> None:
    """Though it keeps alive who reads, and that ignores signals."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", FAILS, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "RuntimeError: CUDA out of memory" in done.stderr


def test_second_ctrl_c_ends_the_process() -> None:
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.requested
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, former)


def test_duplicate_sigterm_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster tells every process, and torchrun, told as well, tells its own again."""
    now = [100.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    died: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, _: died.append(number))
    try:
        with Stop() as stop:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)
                now[0] += 2
            assert stop.requested
            assert died == []
            os.kill(os.getpid(), signal.SIGTERM)
            assert died == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, former)


def test_other_threads_ignore_signals() -> None:
    entered = []

    def run() -> None:
        with Stop() as stop:
            entered.append(stop.requested)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert entered == [False]
