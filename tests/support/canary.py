"""Watching what a process does to the machine while it reads what it should not trust."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.forkpty", "subprocess.Popen")
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")
TWO_PATHS = ("os.rename", "os.link", "os.symlink")  # of the last, the first is but where it leads
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
IGNORED = ("/dev/null", "__pycache__")  # the latter: bytecode of modules that are imported late


class Watch:
    """Notes every program that is started and every path that is written to, by Python's audit hooks.

    Attributes:
        allowed: below it anything may be written; None while nobody watches.
        seen: what happened elsewhere.
    """

    def __init__(self) -> None:
        self.allowed: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._note)  # which can't be taken away again

    @contextmanager
    def only(self, folder: Path) -> Iterator[None]:
        """Within it, nothing but this folder is to be written to, and no program to be started."""
        self.allowed = folder
        try:
            yield
        finally:
            self.allowed = None

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event in STARTS:
            self.seen.append(f"{event} {arguments[0]!r}")
        elif event == "open":
            path, mode, flags = arguments
            if set(mode or "") & set("wax+") or (flags or 0) & WRITING:
                self._note_path(event, path)
        elif event in CHANGES:
            for path in arguments[:1] if event not in TWO_PATHS else arguments[event == "os.symlink" : 2]:
                self._note_path(event, path)

    def _note_path(self, event: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike):  # a file that is open already
            return
        real, inside = os.path.realpath(os.fsdecode(path)), os.path.realpath(self.allowed or "")
        if os.path.commonpath([inside, real]) != inside and not any(part in real for part in IGNORED):
            self.seen.append(f"{event} {real}")


def contents(folder: Path, *, without: Path) -> dict[str, bytes | str]:
    """Everything below a folder, links as where they lead, but for one folder in it."""
    paths = (path for path in folder.rglob("*") if without not in (path, *path.parents))
    return {
        str(path): os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        for path in paths
    }
