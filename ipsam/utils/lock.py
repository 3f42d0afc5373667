"""Locks between processes, with a record of the holder."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

SOFT = ".softlock"  # appended to the lock's name, so that the two kinds never share a file
PATIENCE = 1.0  # seconds, for the workers of a killed process to end and an ending process to release its lock

logger = logging.getLogger(__name__)


@contextmanager
def hold(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock file at ``path``, and remove it afterwards.

    The kernel frees the lock when its process ends, even by SIGKILL. A file system without locks gets a soft lock, a
    file beside ``path``; filelock breaks a soft lock whose process on this host is dead.

    Raises:
        Timeout: another process holds it, and ``wait`` is false.
        OSError: the lock file cannot be written.
    """
    lock: BaseFileLock = FileLock(path, mode=0o666, fallback_to_soft=False)  # a group may share the folder
    try:
        _acquire(lock, wait=wait)
    except OSError as error:
        if isinstance(error, Timeout) or error.filename is not None:  # of opening the file, not of locking it
            raise
        with suppress(OSError):
            if not path.read_bytes():  # left by the attempt; the lock of a host with locks holds a record
                path.unlink()
        lock = SoftFileLock(f"{path}{SOFT}")
        logger.warning("%s: no locks on this file system (%s); using %s", path, error.strerror, lock.lock_file)
        _acquire(lock, wait=wait)
    record = f"{os.getpid()}\n{socket.gethostname()}\n"  # the format of filelock's soft locks
    native = not isinstance(lock, SoftFileLock)
    if native:
        with suppress(OSError):  # it is only for messages
            path.write_text(record)
    try:
        yield
    finally:
        with suppress(OSError):
            if native and path.read_text() == record:  # otherwise ours was removed, and this is another's
                path.unlink()
        lock.release()


def holder(path: Path) -> str:
    """Describe the process that holds a lock, since when, and what to do about a lock file left by another host."""
    try:
        pid, host = path.read_text().splitlines()[:2]
        since = datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat(sep=" ", timespec="seconds")
    except (OSError, ValueError):
        return "another process"
    left = f" (if that process no longer runs, remove {path})" if path.name.endswith(SOFT) else ""
    return f"process {pid} on {host.partition('?')[0]} since {since}{left}"


def _acquire(lock: BaseFileLock, *, wait: bool) -> None:
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        if not wait:
            raise
        logger.warning("waiting for %s, which holds %s", holder(Path(lock.lock_file)), lock.lock_file)
        lock.acquire(timeout=-1)
