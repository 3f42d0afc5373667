"""The checkpoints of a run: ``step_00001000`` and so on, and the pointers ``last`` and ``best`` to two of them."""

import logging
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from ipsam.data.files import some
from ipsam.engine.runs.checkpoint import CONFIG, NEW, OLD, WEIGHTS, checkpoint_info, damage, save_checkpoint
from ipsam.engine.runs.pointer import STEP, follow, point
from ipsam.model import Segmenter
from ipsam.utils.files import is_absent, is_file, is_folder, mode_of, remove

NAME = "step_{:08d}"
LAST, BEST = "last", "best"
GONE = ".gone-"  # what is being removed, beside OLD and NEW of what is being written

logger = logging.getLogger(__name__)


class Store:
    """Writes a run's checkpoints, and finds the newest whole one again.

    Args:
        folder: ``checkpoints`` in the run's folder.
        keep: how many of the newest are kept; ``best`` is kept besides.
    """

    def __init__(self, folder: Path, *, keep: int = 1) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, step: int, model: Segmenter, *, config: str, training: Mapping[str, Any], best: bool) -> None:
        """Write the checkpoint of an optimiser step, point ``last`` and perhaps ``best`` to it, drop older ones.

        Raises:
            OSError: it can't be written; the former ones are still whole, and the message says how to go on.
        """
        folder = self.folder / NAME.format(step)
        try:
            save_checkpoint(folder, model, config=config, training=training)
            for pointer in (LAST, BEST) if best else (LAST,):
                self._point(pointer, folder.name)
        except OSError as error:
            raise OSError(
                f"the checkpoint of step {step} could not be written to {self.folder}: {error.strerror or error}; "
                f"{self._what_is_left()}. Make room, or give the right to write there, then go on with resume=true"
            ) from error
        self._prune(folder)

    def go_back_to(self, checkpoint: Path, *, best_step: int | None) -> None:
        """Leave things as they were when a checkpoint had been saved; newer ones, all damaged, are set aside.

        Args:
            checkpoint: one of ``all``.
            best_step: of the checkpoint that ``best`` led to; None for none.
        """
        for folder in self.all():
            if int(folder.name.removeprefix("step_")) > int(checkpoint.name.removeprefix("step_")):
                self._set_aside(folder)
        self._point(LAST, checkpoint.name)
        if best_step is not None and is_folder(self.folder / NAME.format(best_step)):
            self._point(BEST, NAME.format(best_step))

    def clean_up(self) -> None:
        """Put in order what a killed process left, and the folders ``last`` and ``best`` of a copied run.

        Raises:
            OSError: a checkpoint that something depends on can't be read.
        """
        for old in self._entries(OLD):
            place = self.folder / old.name.removeprefix(OLD)
            if STEP.fullmatch(place.name) and _damage(place):  # killed before the new one was put there
                self._set_aside(place)
                old.rename(place)
        for leftover in (path for kind in (OLD, NEW, GONE) for path in self._entries(kind)):
            remove(leftover)
        for pointer in (LAST, BEST):
            self._take_over(pointer)

    def newest(self) -> Path | None:
        """Return the newest whole checkpoint; None if none was ever written. Damaged ones are named in the log.

        Raises:
            ValueError: there are some, but none is whole.
            OSError: one that may be the newest can't be read.
        """
        damaged = []
        for folder in self.all():
            wrong = _damage(folder)
            if wrong is None:
                return folder
            logger.warning("%s is passed over: %s", folder, wrong)
            damaged.append(f"{folder.name}: {wrong}")
        if damaged:
            raise ValueError(
                f"none of the {len(damaged)} checkpoints in {self.folder} is whole ({some(damaged, 2)}). Nothing was "
                "removed: restore the files from a copy and go on with resume=true, or begin in another folder with "
                "run_dir=... (overwrite=true discards what is there)"
            )
        return None

    def all(self) -> list[Path]:
        """Return every checkpoint, newest first.

        Raises:
            OSError: the folder can't be read.
        """
        found = [path for path in self._entries("step_") if STEP.fullmatch(path.name) and is_folder(path)]
        return sorted(found, key=lambda path: int(path.name.removeprefix("step_")), reverse=True)

    def _entries(self, prefix: str) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if path.name.startswith(prefix)]
        except OSError as error:
            if not is_absent(error):
                raise
            return []

    def _what_is_left(self) -> str:
        """Return the part of an error message that says what there is to resume from."""
        try:
            found = self.all()
            whole = next((f"{path.name} is still whole" for path in found if damage(path) is None), None)
        except OSError:
            return "former ones were left as they are"
        return whole or ("no former one is whole" if found else "there is no former one")

    def _point(self, pointer: str, name: str) -> None:
        self._take_over(pointer)
        point(self.folder / pointer, name)

    def _take_over(self, pointer: str) -> None:
        """Make way where a run was copied with its links followed, so that a pointer is a folder of its own.

        A duplicate is removed. A copy of a checkpoint that is not there, or is damaged, takes its place.
        """
        copy = self.folder / pointer
        if not is_folder(copy, follow=False):
            return
        step = None if _damage(copy) else checkpoint_info(copy).get("step", 0)
        place = self.folder / NAME.format(step if type(step) is int and 0 <= step < 1 << 53 else -1)
        if not STEP.fullmatch(place.name):
            self._set_aside(copy)
            return
        if _damage(place):
            self._set_aside(place)
            copy.rename(place)
            logger.info("%s is a copy of %s, and takes its place", copy, place.name)
        elif checkpoint_info(place) == checkpoint_info(copy):
            self._remove(copy)
        else:
            self._set_aside(copy, "other")
            return
        point(copy, place.name)

    def _prune(self, saved: Path) -> None:
        best = follow(self.folder / BEST)
        kept = best.resolve() if mode_of(best) else None
        others = [folder for folder in self.all() if folder != saved]
        for folder in others[self.keep - 1 :]:
            if folder.resolve() != kept:
                self._remove(folder)

    def _set_aside(self, folder: Path, kind: str = "damaged") -> None:
        """Rename a folder, if it is there, so that it is no checkpoint of the run any more but nothing is lost."""
        if not mode_of(folder, follow=False):
            return
        names = (f"{kind}-{folder.name}{f'-{number}' if number > 1 else ''}" for number in count(1))
        aside = next(path for name in names if not mode_of(path := self.folder / name, follow=False))
        folder.rename(aside)
        logger.warning("%s is set aside as %s", folder, aside.name)

    def _remove(self, folder: Path) -> None:
        gone = folder.with_name(f"{GONE}{folder.name}")  # so that no half of it is ever taken for a checkpoint
        remove(gone)
        folder.rename(gone)
        remove(gone)


def _damage(folder: Path) -> str | None:
    """Return what ``damage`` does; raise its OSError with a way out."""
    try:
        return damage(folder)
    except OSError as error:
        raise OSError(
            f"{error.filename} can't be read: {error.strerror}. Whether {folder} is whole is not known, so nothing is "
            "changed: go on with resume=true once it can be read"
        ) from error


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that a user means: the folder itself, or a run's newest.

    Raises:
        FileNotFoundError: if it is neither.
    """
    newest = Store(path / "checkpoints").all()
    for folder in map(follow, (path, *newest[:1], path / "checkpoints" / LAST)):
        if is_file(folder / WEIGHTS):
            return folder
    raise FileNotFoundError(
        f"no checkpoint at {path}: ckpt= takes a run's folder (which holds checkpoints/{LAST}/{WEIGHTS}) "
        "or a checkpoint's, such as outputs/cod_r32/seed0/checkpoints/best"
    )


def is_checkpoint(folder: Path) -> bool:
    """Whether it is a checkpoint that a training left, rather than a model somebody shares."""
    return is_file(folder / CONFIG)


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint is in; the checkpoint's own, where it is in none."""
    in_run = is_checkpoint(checkpoint) and checkpoint.parent.name == "checkpoints"
    return checkpoint.parents[1] if in_run else checkpoint
