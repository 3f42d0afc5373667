"""Audit of a process while it reads hostile files: programs it starts, and paths it writes."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.forkpty", "subprocess.Popen")
# Events that change paths, with the positions of those paths; the first of symlink is only its target.
CHANGES = dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod"), (0,))
CHANGES |= {"os.rename": (0, 1), "os.link": (0, 1), "os.symlink": (1,)}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
IGNORED = ("/dev/null", "__pycache__")  # the latter: bytecode of modules that are imported late


class Audit:
    """Record of every program that is started and every path that is written outside a folder, by Python's audit hooks.

    Attributes:
        violations: what happened inside ``allowing``.
    """

    def __init__(self) -> None:
        self.allowed: Path | None = None
        self.violations: list[str] = []
        sys.addaudithook(self._record)  # cannot be removed

    @contextmanager
    def allowing(self, folder: Path) -> Iterator[None]:
        """Allow writing to this folder only."""
        self.allowed = folder
        try:
            yield
        finally:
            self.allowed = None

    def _record(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in STARTS:
            self.violations.append(f"{event} {arguments[0]!r}")
        elif event == "open":
            path, mode, flags = arguments
            if set(mode or "") & set("wax+") or (flags or 0) & WRITING:
                self._record_path(event, path)
        for position in CHANGES.get(event, ()):
            self._record_path(event, arguments[position])

    def _record_path(self, event: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):  # an open file
            return
        real, inside = os.path.realpath(os.fsdecode(path)), os.path.realpath(self.allowed or "")
        if os.path.commonpath([inside, real]) != inside and not any(part in real for part in IGNORED):
            self.violations.append(f"{event} {real}")


def contents(folder: Path, *, without: Path) -> dict[str, bytes | str]:
    """Everything below a folder, except one folder in it; links by their targets."""
    paths = (path for path in folder.rglob("*") if without not in (path, *path.parents))
    return {
        str(path): os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        for path in paths
    }
