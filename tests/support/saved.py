"""Checkpoints of a tiny model, and file systems that fail, for the tests of what a run saves."""

import errno
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ipsam.engine.runs.store import Store
from ipsam.model import IPSAM
from support.builders import micro_model

MODEL: IPSAM = micro_model(self_prompt=False, lateral=False, refine=False)


def save(store: Store, step: int, *, best: bool = False) -> None:
    training = {"optimizer": {}, "rng": [], "progress": {"step": step}}
    store.save(step, MODEL, config="model: {}\n", training=training, best=best)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def unreadable(path: Path) -> None:
    """Make a file fail as on a bad disk: it is there, but the system answers EIO to whoever reads it."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


def failing(number: int) -> Any:
    """Make a function that fails with an error of the system."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def forbid_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """Imitate a file system without symbolic links."""

    def refuse(source: Any, target: Any, *_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), source, None, target)

    monkeypatch.setattr(os, "symlink", refuse)


@contextmanager
def limited_files(num_bytes: int) -> Iterator[None]:
    """Imitate a full disk: the kernel refuses to let files grow above a size.

    Bytecode is not written meanwhile: Python would keep a module's cache of that size, and fail at its next import.
    """
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_bytecode
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
