"""The checkpoints of a run: ``step_00001000`` and so on, and the links ``last`` and ``best`` to two of them."""

import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipsam.engine.checkpoint import CONFIG, NEW, OLD, WEIGHTS, damage, save_checkpoint
from ipsam.model import Segmenter

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
        """Write the checkpoint of an optimiser step, let ``last`` and perhaps ``best`` lead to it, drop older ones.

        Raises:
            OSError: it can't be written; the former ones are still whole, and the message says how to go on.
        """
        folder = self.folder / NAME.format(step)
        try:
            save_checkpoint(folder, model, config=config, training=training)
            for link in (LAST, BEST) if best else (LAST,):
                self._point(link, folder.name)
        except OSError as error:
            former = next((path.name for path in self.all() if path != folder), None)
            there = f"{former} is still whole" if former else "there is no former one"
            raise OSError(
                f"the checkpoint of step {step} could not be written to {self.folder}: {error.strerror or error}; "
                f"{there}. Make room, or give the right to write there, then go on with resume=true"
            ) from error
        self._prune(folder)

    def go_back_to(self, checkpoint: Path, *, best_step: int | None) -> None:
        """Leave things as they were when a checkpoint had been saved: what is newer, all of it damaged, is removed.

        Args:
            checkpoint: one of ``all``.
            best_step: of the checkpoint that ``best`` led to; None for none.
        """
        for folder in self.all():
            if int(folder.name.removeprefix("step_")) > int(checkpoint.name.removeprefix("step_")):
                logger.warning("%s is removed", folder)
                self._remove(folder)
        self._point(LAST, checkpoint.name)
        if best_step is not None and (self.folder / NAME.format(best_step)).is_dir():
            self._point(BEST, NAME.format(best_step))

    def clean_up(self) -> None:
        """Put in order what a process left that was killed while it wrote or removed a checkpoint."""
        for old in self.folder.glob(f"{OLD}*"):
            place = self.folder / old.name.removeprefix(OLD)
            if not place.exists():  # killed just before the new one was put there
                old.rename(place)
        for leftover in (path for kind in (OLD, NEW, GONE) for path in self.folder.glob(f"{kind}*")):
            leftover.unlink() if leftover.is_symlink() else shutil.rmtree(leftover, ignore_errors=True)

    def newest(self) -> Path | None:
        """The newest whole checkpoint; None if none was ever written. Damaged ones are named in the log.

        Raises:
            ValueError: there are some, but none is whole.
        """
        found = self.all()
        for folder in found:
            wrong = damage(folder)
            if wrong is None:
                return folder
            logger.warning("%s is passed over: %s", folder, wrong)
        if found:
            raise ValueError(
                f"none of the {len(found)} checkpoints in {self.folder} is whole; start anew with overwrite=true"
            )
        return None

    def all(self) -> list[Path]:
        """Every checkpoint, newest first."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if re.fullmatch(r"step_\d{8,}", path.name) and path.is_dir()]
        return sorted(found, key=lambda path: int(path.name.removeprefix("step_")), reverse=True)

    def _point(self, link: str, name: str) -> None:
        fresh = self.folder / f"{NEW}{link}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(name)
        os.replace(fresh, self.folder / link)

    def _prune(self, saved: Path) -> None:
        best = (self.folder / BEST).resolve()
        others = [folder for folder in self.all() if folder != saved]
        for folder in others[self.keep - 1 :]:
            if folder.resolve() != best:
                self._remove(folder)

    def _remove(self, folder: Path) -> None:
        gone = folder.with_name(f"{GONE}{folder.name}")  # so that no half of it is ever taken for a checkpoint
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that a user means: the folder itself, or a run's newest.

    Raises:
        FileNotFoundError: if it is neither.
    """
    newest = Store(path / "checkpoints").all()
    for folder in (path, *newest[:1], path / "checkpoints" / LAST):
        if (folder / WEIGHTS).is_file():
            return folder
    raise FileNotFoundError(
        f"no checkpoint at {path}: ckpt= takes a run's folder (which holds checkpoints/{LAST}/{WEIGHTS}) "
        "or a checkpoint's, such as outputs/cod_r32/seed0/checkpoints/best"
    )


def is_checkpoint(folder: Path) -> bool:
    """Whether it is a checkpoint that a training left, rather than a model somebody shares."""
    return (folder / CONFIG).is_file()


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint is in; the checkpoint's own, where it is in none."""
    in_run = is_checkpoint(checkpoint) and checkpoint.parent.name == "checkpoints"
    return checkpoint.parents[1] if in_run else checkpoint
