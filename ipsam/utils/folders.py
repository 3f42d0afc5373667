"""Folders: walked, checked for links that lead out, and made."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from ipsam.utils.files import unreadable


def folders_below(root: Path) -> tuple[list[Path], list[str]]:
    """List a folder and all folders below it, sorted, and a message for each that cannot be read.

    Links to folders are followed, but no folder is listed twice: its own path wins over a link, and links that lead to
    a folder above are skipped.
    """
    found: list[Path] = []
    messages: list[str] = []
    visited = {str(folder) for folder in root.resolve().parents}
    pending: list[tuple[str, str]] = []  # path and real path
    links = deque([str(root)])
    while pending or links:  # without recursion, which ends at a thousand folders
        folder, real = pending.pop() if pending else (links[0], os.path.realpath(links.popleft()))
        if real in visited:
            continue
        try:
            with os.scandir(folder) as entries:
                inside = sorted((entry for entry in entries if os.path.isdir(entry)), key=lambda entry: entry.name)
        except OSError as error:
            messages.append(unreadable(Path(folder), error))
            continue
        visited.add(real)
        found.append(Path(folder))
        for entry in inside:
            if entry.is_symlink():
                links.append(entry.path)
            else:
                pending.append((entry.path, os.path.join(real, entry.name)))
    return sorted(found), messages


def check_stays_inside(folder: Path, names: Iterable[str]) -> None:
    """Check that writing to these entries of a folder stays in it: the folder may be a stranger's.

    Raises:
        ValueError: one of them, or something in one, is a link that leads out, or neither file nor folder.
    """
    inside = os.path.realpath(folder)
    for name in names:
        for path in (folder / name, *(folder / name).rglob("*")):
            real = os.path.realpath(path)
            if path.is_symlink() and os.path.commonpath([inside, real]) != inside:
                raise ValueError(
                    f"{path} is a link that leads out of {folder}, to {real}; a run writes to its own folder alone: "
                    "remove the link"
                )
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise ValueError(f"{path} is neither a file nor a folder; remove it")


_made: list[Path] = []  # by ``writable_folder`` and ``writable_file``, innermost first


@contextmanager
def without_unused_folders() -> Iterator[None]:
    """On an error, remove the folders that ``writable_folder`` and ``writable_file`` made and that are still empty."""
    try:
        yield
    except BaseException:
        remove_empty(_made)
        raise
    finally:
        _made.clear()


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, of which each may be inside the next, up to the first that is not empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def missing(folder: Path) -> list[Path]:
    """Return those of a folder and its parents that do not exist, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def writable_folder(path: Path, option: str) -> Path:
    """Make a folder, unless it exists, and check that it can be written to; ``option`` is what sets it.

    Raises:
        ValueError: it cannot be made or written to.
    """
    if reason := _obstacle(path):
        raise ValueError(
            f"{option}={path}: can't be made or written to as a folder ({reason}); set {option}=FOLDER to one that can"
        )
    return path


def writable_file(path: Path, option: str) -> Path:
    """Check that a file can be written, and make its folder; see ``writable_folder``."""
    try:
        reason = "it is a folder" if path.is_dir() else _obstacle(path.parent)
    except OSError as error:  # the name is too long
        reason = error.strerror
    if reason:
        raise ValueError(f"{option}={path}: can't be written as a file ({reason}); set {option}=FILE to one that can")
    return path


def _obstacle(folder: Path) -> str | None:
    """Return why a folder can't be made or written to."""
    try:
        _made[:0] = missing(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # what os.access says is wrong for root and for read-only systems
            return None
    except OSError as error:
        return error.strerror


def cache_folder() -> Path:
    """Return the folder of downloaded files: ``$IPSAM_CACHE``, or the system's cache folder for this program."""
    import pooch  # takes a while, and most commands need none

    return Path(os.environ.get("IPSAM_CACHE") or pooch.os_cache("ipsam"))
