"""Files that appear in their place whole: written under a name of this process alone, then renamed."""

import os
import re
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

DAY = 86400  # seconds
NAME = re.compile(r"\.(\d+)-([0-9a-f]{8})-[0-9a-f]{8}\.part(\.\w+)?")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a hidden file beside ``path`` to write to; it becomes ``path`` at the end, and is removed on an error.

    Raises:
        OSError: the system's, but with ``path`` as the file's name.
    """
    _remove_leftovers(path.parent)
    name = f".{os.getpid()}-{_host()}-{_checksum(path.name)}.part{path.suffix}"  # short: path.name may be the longest
    unfinished = path.with_name(name)
    try:
        yield unfinished
        unfinished.replace(path)
    except BaseException as error:
        with suppress(OSError):  # the error that led here is the one to tell
            unfinished.unlink()
        if isinstance(error, OSError) and error.filename == str(unfinished):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@cache
def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this host left, and what any host left a day ago; once a process."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if (match := NAME.fullmatch(entry.name)) and (
                (match[2] == _host() and not _is_running(int(match[1])))
                or time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY
            ):
                os.unlink(entry)


@cache
def _host() -> str:
    """Identify the host, or the container: a process number means nothing elsewhere."""
    space = Path("/proc/self/ns/pid")
    return _checksum(f"{socket.gethostname()} {os.readlink(space) if space.exists() else ''}")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


def _checksum(text: str) -> str:
    return f"{zlib.crc32(os.fsencode(text)):08x}"
