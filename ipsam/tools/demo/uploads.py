"""Folder of uploads and cutouts: access control and a size limit."""

import os
import time
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from gradio.utils import get_upload_folder

MAX_KEPT = 4 * 2**30  # bytes of uploads and cutouts
IN_USE = 600  # seconds until a file may be removed to make room
SMALLEST = 2**20  # bytes that a file counts at least, which limits the number of files
REFUSED = "Refused: the demo answers its own page alone, at the address that it printed, about pictures uploaded there."


def uploaded(path: str) -> Path:
    """Resolve a path that a visitor sent to a regular file in the upload folder.

    Raises:
        ValueError: it is anything else; the message is the same whether or not something exists there.
    """
    folder = get_upload_folder()
    try:
        file = Path(os.path.abspath(path))
        if file.is_relative_to(folder):  # without touching the disk for other paths
            file = file.resolve(strict=True)
            if file.is_relative_to(folder) and file.is_file():
                return file
    except (OSError, ValueError, RuntimeError):  # before Python 3.13 a loop of links is a RuntimeError
        pass
    raise ValueError(REFUSED)


def make_room(size: int) -> bool:
    """Remove the oldest files until a number of bytes fits; return whether it does.

    Recent files stay, as they may be in use.
    """
    files = []
    for file in Path(get_upload_folder()).rglob("*"):
        with suppress(FileNotFoundError):  # gradio removes old files too
            status = file.lstat()
            if S_ISREG(status.st_mode):
                files.append((status.st_ctime, max(status.st_size, SMALLEST), file))
    free = MAX_KEPT - size - sum(kept for _, kept, _ in files)
    for changed, kept, file in sorted(files):
        if free >= 0 or changed > time.time() - IN_USE:
            break
        file.unlink(missing_ok=True)
        free += kept
    return free >= 0
