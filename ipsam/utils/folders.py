"""Folders that results are looked for in and written to."""

import csv
import json
import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from ipsam.utils.unfinished import replacing


def folders_below(root: Path) -> tuple[list[Path], list[str]]:
    """A folder with all folders below it, sorted, and a line for each that can't be read.

    Links to folders are followed, but no folder is named twice: one that is reached both directly and by a link goes by
    its own path, and a link that leads to a folder above is passed over.
    """
    found: list[Path] = []
    complaints: list[str] = []
    seen: set[str] = set()
    above = {str(folder) for folder in root.resolve().parents}
    pending = deque([str(root)])
    while pending:
        for folder, names, _ in os.walk(  # which does not enter links
            pending.popleft(), onerror=lambda error: complaints.append(unreadable(Path(error.filename), error))
        ):
            real = os.path.realpath(folder)
            if real in seen or real in above:
                names.clear()
                continue
            seen.add(real)
            found.append(Path(folder))
            pending += sorted(path for name in names if os.path.islink(path := os.path.join(folder, name)))
    return sorted(found), complaints


def check_stays_inside(folder: Path, names: Iterable[str]) -> None:
    """See that what is written to these entries of a folder stays in it: the folder may be a stranger's.

    Raises:
        ValueError: one of them, or something in one, is a link that leads out of it, or neither file nor folder.
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


def write_whole(path: Path, content: str) -> None:
    """Write a text file so that it holds either all of it or what it held before; its folder is made.

    Raises:
        OSError: it can't be written; with the path.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as fresh, fresh.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def writable_folder(path: Path, option: str) -> Path:
    """Make a folder, unless it is there, and see that it can be written to; ``option`` is what sets it.

    Raises:
        ValueError: it can't be made or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(path, os.W_OK | os.X_OK) else "no right to write there"
    except OSError as error:
        reason = error.strerror
    if reason is not None:
        raise ValueError(
            f"{option}={path}: can't be made or written to as a folder ({reason}); set {option}=FOLDER to one that can"
        )
    return path


def unreadable(path: Path, error: OSError) -> str:
    """The message on a file or folder that the system doesn't let us read."""
    return f"{path}: can't be read ({error.strerror or error}); give yourself the right to read it, or take it out"


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, making its folder."""
    write_whole(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, rows: list[dict[str, str | float]]) -> None:
    """Write rows of the same keys as CSV, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def cache_folder() -> Path:
    """Where files are fetched to: ``$IPSAM_CACHE``, or the system's cache folder for this program."""
    import pooch

    return Path(os.environ.get("IPSAM_CACHE") or pooch.os_cache("ipsam"))
