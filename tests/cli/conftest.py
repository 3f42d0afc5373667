"""Fixtures that run the scripts as a user does, within the process of the tests."""

import logging
import runpy
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import jaxtyping
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from hydra.core.global_hydra import GlobalHydra
from support.figure_runs import write_run, write_set
from support.small_run import SCRIPTS


@dataclass(frozen=True)
class Done:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The message of a command that failed with one clean sentence."""
        assert self.status == 1, self.err
        assert "Traceback" not in self.err
        assert 'File "' not in self.err
        assert self.err.count("error: ") == 1
        return self.err


@pytest.fixture(autouse=True)
def as_users_run_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in an empty folder without type checks, and restore the global state afterwards."""
    monkeypatch.chdir(tmp_path)
    jaxtyping.config.update("jaxtyping_disable", True)
    root = logging.getLogger()
    handlers, level, threads = root.handlers[:], root.level, torch.get_num_threads()
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    torch.set_num_threads(threads)
    jaxtyping.config.update("jaxtyping_disable", False)
    GlobalHydra.instance().clear()
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run scripts/NAME.py with arguments."""

    def run(name: str, *arguments: str) -> Done:
        path = str(SCRIPTS / f"{name}.py")
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [path, *arguments])
        capsys.readouterr()
        status, message = 0, ""
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:  # as Python itself takes it: a message goes to stderr, with status 1
            status, message = (end.code or 0, "") if isinstance(end.code, int | None) else (1, f"{end.code}\n")
        printed = capsys.readouterr()
        return Done(status, printed.out, printed.err + message)

    return run


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[[str], str]:
    """Write three pairs (a, b, c) of 64 x 64 pixels; return the set as on the command line."""

    def write(name: str) -> str:
        rng = np.random.default_rng(0)
        for kind in ("images", "masks"):
            (tmp_path / name / kind).mkdir(parents=True)
        for stem in "abc":
            mask = np.zeros((64, 64), np.uint8)
            mask[20:40, 20:50] = 255
            cv2.imwrite(f"{name}/images/{stem}.jpg", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            cv2.imwrite(f"{name}/masks/{stem}.png", mask)
        return f"{{name: {name}, images: {tmp_path}/{name}/images, masks: {tmp_path}/{name}/masks}}"

    return write


@pytest.fixture
def score(script: Callable[..., Done]) -> Callable[..., Done]:
    """Run score without worker processes."""
    return lambda *arguments: script("score", *arguments, "num_workers=0")


@pytest.fixture
def run() -> Path:
    """Write a run in ``run``, with the test set ``own`` of images a to d; return its checkpoint."""
    return write_run("run", [write_set("own")])


@pytest.fixture
def visualize(script: Callable[..., Done], run: Path) -> Callable[..., Done]:
    """Run visualize on that run."""
    return lambda *arguments: script("visualize", "ckpt=run", *arguments)
