"""Tell a path where nothing lies from one that can't be read: ``Path.exists`` and its like may call both False."""

import errno
import os
import shutil
import stat
from pathlib import Path

ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def is_absent(error: OSError) -> bool:
    """Return whether an error says that nothing is there, and not just that it can't be read now."""
    return error.errno in ABSENT


def mode_of(path: Path, *, follow: bool = True) -> int:
    """Return the mode of the file or folder at a path, or of a link itself without ``follow``; 0 for nothing.

    Raises:
        OSError: the system can't tell.
    """
    try:
        return os.stat(path, follow_symlinks=follow).st_mode
    except OSError as error:
        if not is_absent(error):
            raise
        return 0


def is_file(path: Path) -> bool:
    """Return whether a regular file is there; raise OSError as ``mode_of`` does."""
    return stat.S_ISREG(mode_of(path))


def is_folder(path: Path, *, follow: bool = True) -> bool:
    """Return whether a folder is there; raise OSError as ``mode_of`` does."""
    return stat.S_ISDIR(mode_of(path, follow=follow))


def remove(path: Path) -> None:
    """Remove a file, link or folder, if there is one; of a folder, what can't be removed stays."""
    if is_folder(path, follow=False):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
