"""Pointers to a checkpoint beside them, ``last`` and ``best``: symbolic links, or small text files without support."""

import os
import re
from contextlib import suppress
from pathlib import Path

from ipsam.engine.runs.checkpoint import NEW
from ipsam.utils.files import is_file, remove, write_text
from ipsam.utils.untrusted import bounded_text

STEP = re.compile(r"step_\d{8,}")  # a checkpoint's name
MAX_BYTES = 255  # of a file's name


def point(path: Path, name: str) -> None:
    """Make a pointer to the folder ``name`` beside it, in one step; a text file where there can be no links.

    Raises:
        OSError: it can't be written; a former pointer is as it was.
    """
    fresh = path.with_name(f"{NEW}{path.name}")
    remove(fresh)
    try:
        fresh.symlink_to(name)
    except (OSError, NotImplementedError):
        write_text(path, f"{name}\n")
    else:
        os.replace(fresh, path)


def follow(path: Path) -> Path:
    """Return the checkpoint that a text file points to; any other path as it is, as the system follows links.

    The file may be a stranger's: it can name nothing but a checkpoint beside it.

    Raises:
        OSError: it can't be read.
    """
    if is_file(path):
        with suppress(ValueError):  # too large, or no text
            name = bounded_text(path, MAX_BYTES).strip()
            if STEP.fullmatch(name):
                return path.with_name(name)
    return path
