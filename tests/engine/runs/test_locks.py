"""One training at a time in a run's folder: with the kernel's locks, and on a file system without."""

import errno
import fcntl
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from support import lock_worker
from support.run_folders import MODEL, finish

from ipsam.engine.runs.configuration import read_config
from ipsam.engine.runs.run_folder import LOCK, begin_run, lock_folder, open_run
from ipsam.utils import lock
from ipsam.utils.lock import SOFT

HOST = socket.gethostname()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def other(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder."""
    command = [sys.executable, lock_worker.__file__, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.05)


@pytest.fixture(params=[errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL], ids=errno.errorcode.get)
def no_locks(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", refuse)


def refused(folder: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message), lock_folder(folder):
        pass


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("impatient")
def test_second_training_is_refused(run_config: Any, folder: Path, other: Any) -> None:
    finish(run_config())
    before = everything(folder)
    message = rf"^{folder} is in use by process {other.pid} on {re.escape(HOST)} since \d{{4}}-.*run_dir="
    for option in ("seed=0", "resume=true", "overwrite=true", "engine.epochs=7"):
        with pytest.raises(ValueError, match=message), begin_run(run_config(option)):
            pass
    assert everything(folder) == before
    assert other.poll() is None


def test_killed_process_leaves_no_obstacle(folder: Path, other: Any) -> None:
    other.kill()
    with lock_folder(folder):
        assert (folder / LOCK).read_text().splitlines() == [str(os.getpid()), HOST]
    assert list(folder.iterdir()) == []


def test_workers_that_outlive_a_killed_process_hold_nothing(folder: Path) -> None:
    with lock_folder(folder):
        worker = get_context("fork").Process(target=os.read, args=(os.pipe()[0], 1), daemon=True)
        worker.start()
    with lock_folder(folder):
        assert worker.is_alive()
    worker.kill()


@pytest.mark.usefixtures("impatient")
def test_lock_is_held_while_overwriting_and_released(run_config: Any, folder: Path) -> None:
    finish(run_config())
    with begin_run(config := run_config("overwrite=true")):
        open_run(config, MODEL)
        refused(folder, f"in use by process {os.getpid()} ")
    assert not (folder / LOCK).exists()
    finish(config)
    with pytest.raises(ValueError, match="already holds a run"), begin_run(run_config()):
        pass
    assert not (folder / LOCK).exists()  # an error releases it


def test_lock_of_another_process_is_not_removed(folder: Path) -> None:
    with lock_folder(folder):
        (folder / LOCK).unlink()
        (folder / LOCK).write_text("7\nelsewhere\n")
    assert (folder / LOCK).exists()


@pytest.mark.parametrize("name", [LOCK, LOCK + SOFT])
def test_lock_does_not_lead_out_of_the_folder(folder: Path, tmp_path: Path, name: str) -> None:
    folder.mkdir()
    (tmp_path / "mine").write_text("mine")
    (folder / name).symlink_to(tmp_path / "mine")
    refused(folder, r"is a link that leads out of .*remove the link")
    assert (tmp_path / "mine").read_text() == "mine"


def test_run_killed_before_its_first_checkpoint_starts_over(run_config: Any, folder: Path) -> None:
    open_run(run_config(), MODEL)
    (folder / "data.json").write_text('{"train": {"num_images": 1, "sha256": "of the killed run"}}')
    with begin_run(config := run_config("engine.epochs=7")):
        open_run(config, MODEL)
    assert read_config(folder / "config.yaml").engine.epochs == 7
    assert "killed" not in (folder / "data.json").read_text()


@pytest.mark.usefixtures("no_locks", "impatient")
def test_without_locks_a_file_stands_for_one(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A dead process of this host is no obstacle; another host is named with the file to remove."""
    path = folder / f"{LOCK}{SOFT}"
    with lock_folder(folder):
        assert path.exists()
        refused(folder, f"in use by process {os.getpid()} on ")
    assert "no locks on this file system (" in caplog.text
    assert list(folder.iterdir()) == []
    with subprocess.Popen(["true"]) as dead:
        pass
    path.write_text(f"{dead.pid}\n{HOST}\n")
    with lock_folder(folder):
        assert path.read_text().startswith(f"{os.getpid()}\n")
    path.write_text(f"{dead.pid}\nelsewhere\n")
    refused(folder, rf"in use by process \d+ on elsewhere since .* \(.*remove {path}\)")
