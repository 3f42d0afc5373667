"""The checkpoints of a run: ``step_00001000`` and so on, and the pointers ``last`` and ``best`` to two of them.

A pointer is a symbolic link, or a small text file where the file system has no links.
"""

import logging
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from ipsam.data.files import some
from ipsam.engine.runs.checkpoint import NEW, OLD, checkpoint_info, damage, save_checkpoint
from ipsam.model import Segmenter
from ipsam.utils.files import is_absent, is_file, is_folder, mode_of, remove, write_text
from ipsam.utils.untrusted import bounded_text

STEP, NAME = re.compile(r"step_\d{8,}"), "step_{:08d}"
LAST, BEST = "last", "best"
GONE = ".gone-"  # prefix of a folder that is being removed, like OLD and NEW
MAX_POINTER = 255  # bytes

logger = logging.getLogger(__name__)


class Store:
    """Writer and finder of a run's checkpoints.

    Args:
        folder: ``checkpoints`` in the run's folder.
        keep: how many of the newest are kept; ``best`` is kept besides.
    """

    def __init__(self, folder: Path, *, keep: int = 1) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, step: int, model: Segmenter, *, config: str, training: Mapping[str, Any], best: bool) -> None:
        """Write the checkpoint of an optimiser step, point ``last`` (and ``best``) to it, remove older ones.

        Raises:
            OSError: it cannot be written; earlier ones are unchanged, and the message says how to go on.
        """
        folder = self.folder / NAME.format(step)
        try:
            save_checkpoint(folder, model, config=config, training=training)
            for pointer in (LAST, BEST) if best else (LAST,):
                self._point(pointer, folder.name)
        except OSError as error:
            raise OSError(
                f"the checkpoint of step {step} could not be written to {self.folder}: {error.strerror or error}; "
                f"{self._intact()}. Free some space, or allow writing there, then continue with resume=true"
            ) from error
        try:
            self._prune(folder)
        except OSError as error:  # the new one is safe
            logger.warning("older checkpoints in %s are kept: %s", self.folder, error)

    def go_back_to(self, checkpoint: Path, *, best_step: int | None) -> None:
        """Restore the state of the moment when a checkpoint was saved; set newer and damaged ones aside.

        Args:
            checkpoint: one of ``all``.
            best_step: step that ``best`` pointed to; None for none.
        """
        for folder in self.all():
            if _step(folder) > _step(checkpoint) or (folder != checkpoint and _is_damaged(folder)):
                self._set_aside(folder)
        self._point(LAST, checkpoint.name)
        if best_step is not None and is_folder(self.folder / NAME.format(best_step)):
            self._point(BEST, NAME.format(best_step))

    def clean_up(self) -> None:
        """Repair what a killed process left behind, and the folders ``last`` and ``best`` of a copied run.

        Raises:
            OSError: a checkpoint that has to be compared cannot be read.
        """
        for old in self._entries(OLD):
            folder = self.folder / old.name.removeprefix(OLD)
            if STEP.fullmatch(folder.name) and _damage(folder):  # killed before the new one was renamed
                self._set_aside(folder)
                old.rename(folder)
        for leftover in (path for kind in (OLD, NEW, GONE) for path in self._entries(kind)):
            remove(leftover)
        for pointer in (LAST, BEST):
            self._replace_copy(pointer)

    def newest(self) -> Path | None:
        """Return the newest intact checkpoint, None if none was ever written; log the damaged ones.

        Raises:
            ValueError: there are some, but all are damaged.
            OSError: one that may be the newest cannot be read.
        """
        damaged = []
        for folder in self.all():
            wrong = _damage(folder)
            if wrong is None:
                return folder
            logger.warning("skipping %s: %s", folder, wrong)
            damaged.append(f"{folder.name}: {wrong}")
        if damaged:
            raise ValueError(
                f"all {len(damaged)} checkpoints in {self.folder} are damaged ({some(damaged, 2)}). Nothing was "
                "removed: restore the files from a copy and continue with resume=true, or start in another folder with "
                "run_dir=... (overwrite=true discards this one)"
            )
        return None

    def all(self) -> list[Path]:
        """List every checkpoint, newest first.

        Raises:
            OSError: the folder cannot be read.
        """
        found = [path for path in self._entries("step_") if STEP.fullmatch(path.name) and is_folder(path)]
        return sorted(found, key=_step, reverse=True)

    def _entries(self, prefix: str) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if path.name.startswith(prefix)]
        except OSError as error:
            if not is_absent(error):
                raise
            return []

    def _intact(self) -> str:
        """Name the newest intact checkpoint for an error message."""
        try:
            found = self.all()
            intact = next((f"{path.name} is intact" for path in found if damage(path) is None), None)
        except OSError:
            return "earlier ones are unchanged"
        return intact or ("all earlier ones are damaged" if found else "there is no earlier one")

    def _point(self, pointer: str, name: str) -> None:
        self._replace_copy(pointer)
        point(self.folder / pointer, name)

    def _replace_copy(self, pointer: str) -> None:
        """Turn a pointer that is a folder of its own, as in a run copied with its links followed, into a pointer.

        The folder is removed if its step has the same checkpoint, and takes the step's place if that is absent or
        damaged. Any other folder is set aside.
        """
        copy = self.folder / pointer
        if not is_folder(copy, follow=False):
            return
        step = None if _damage(copy) else checkpoint_info(copy).get("step", 0)
        folder = self.folder / NAME.format(step if type(step) is int and 0 <= step < 1 << 53 else -1)
        if not STEP.fullmatch(folder.name):
            self._set_aside(copy)
            return
        if _damage(folder):
            self._set_aside(folder)
            copy.rename(folder)
            logger.info("%s is a copy of %s and replaces it", copy, folder.name)
        elif checkpoint_info(folder) == checkpoint_info(copy):
            self._remove(copy)
        else:
            self._set_aside(copy, "other")
            return
        point(copy, folder.name)

    def _prune(self, saved: Path) -> None:
        best = follow(self.folder / BEST)
        kept = best.resolve() if mode_of(best) else None
        others = [folder for folder in self.all() if folder != saved]
        for folder in others[self.keep - 1 :]:
            if folder.resolve() != kept:
                self._remove(folder)

    def _set_aside(self, folder: Path, kind: str = "damaged") -> None:
        """Rename a folder, if it exists, so that it is no longer a checkpoint of the run but nothing is lost."""
        if not mode_of(folder, follow=False):
            return
        names = (f"{kind}-{folder.name}{f'-{number}' if number > 1 else ''}" for number in count(1))
        aside = next(path for name in names if not mode_of(path := self.folder / name, follow=False))
        folder.rename(aside)
        logger.warning("%s is set aside as %s", folder, aside.name)

    def _remove(self, folder: Path) -> None:
        gone = folder.with_name(f"{GONE}{folder.name}")  # so that a half-removed folder never counts as a checkpoint
        remove(gone)
        folder.rename(gone)
        remove(gone)


def point(path: Path, name: str) -> None:
    """Make ``path`` point to the folder ``name`` beside it, in one step.

    Raises:
        OSError: it cannot be written; an earlier pointer is unchanged.
    """
    new = path.with_name(f"{NEW}{path.name}")
    remove(new)
    try:
        new.symlink_to(name)
    except (OSError, NotImplementedError):
        write_text(path, f"{name}\n")
    else:
        os.replace(new, path)


def follow(path: Path) -> Path:
    """Return the checkpoint that a text file points to, or the path itself: the system follows links.

    The file may be a stranger's, and can name only a checkpoint beside it.

    Raises:
        OSError: it cannot be read.
    """
    if is_file(path):
        with suppress(ValueError):  # too large, or not text
            name = bounded_text(path, MAX_POINTER).strip()
            if STEP.fullmatch(name):
                return path.with_name(name)
    return path


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def _is_damaged(folder: Path) -> bool:
    """Return whether a checkpoint is known to be damaged."""
    with suppress(OSError):
        return damage(folder) is not None
    return False


def _damage(folder: Path) -> str | None:
    """Call ``damage``; add the way out to its OSError."""
    try:
        return damage(folder)
    except OSError as error:
        raise OSError(
            f"{error.filename} can't be read: {error.strerror}. Whether {folder} is intact is unknown, so nothing is "
            "changed: continue with resume=true once it can be read"
        ) from error
