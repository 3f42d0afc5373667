"""How far a training run has come: saved, restored, and ended before its time."""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.utils.data import default_collate

from ipsam.data import TrainSet
from ipsam.engine.metrics import METRICS
from ipsam.engine.runs.checkpoint import load_training, load_weights, save_checkpoint
from ipsam.engine.runs.store import NAME, Store
from ipsam.engine.train.divergence import Guard, Seen, save_for_inspection, told
from ipsam.engine.train.optimizer import fitting_state
from ipsam.model import Segmenter
from ipsam.utils.rng import rng_state, set_rng_state
from ipsam.utils.signals import StoppedError

# What comes of a state of another form.
UNFIT = (TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, LookupError)

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch: finished epochs.
        batch: forward passes of this process in the epoch that is not finished.
        step: finished optimiser steps.
        skipped: those among them that were left out, as their gradient was not finite.
        best, best_step: the held-out part's best score and when it was reached, None before there was one.
        history: all scores of the held-out part.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    skipped: int = 0
    best: float | None = None
    best_step: int | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """ValueError for what no run comes to, as a file may hold it."""
        counts = {name: getattr(self, name) for name in ("epoch", "batch", "step", "skipped")}
        if wrong := [name for name, value in counts.items() if not (type(value) is int and 0 <= value < 1 << 53)]:
            raise ValueError(f"progress.{wrong[0]} is no number of anything: {counts[wrong[0]]!r:.99}")
        if self.best is not None and not _is_finite(self.best):
            raise ValueError(f"progress.best is no score: {self.best!r:.99}")
        if self.best_step is not None and not (type(self.best_step) is int and 0 <= self.best_step <= self.step):
            raise ValueError(f"progress.best_step is no step of it: {self.best_step!r:.99}")
        if not isinstance(self.history, list) or not all(
            isinstance(scores, dict) and all(map(_is_finite, scores.values())) for scores in self.history
        ):
            raise ValueError("progress.history is no list of scores")

    def is_best(self, scores: Mapping[str, float], metric: str) -> bool:
        """Note the held-out part's scores, and whether they are the best so far in ``metric``."""
        self.history.append({"epoch": self.epoch, **scores})
        sign = METRICS[metric].sign
        if self.best is not None and sign * scores[metric] <= sign * self.best:
            return False
        self.best, self.best_step = scores[metric], self.step
        return True


def _unfit(checkpoint: Path, error: Exception) -> ValueError:
    return ValueError(f"cannot resume from {checkpoint}: it is of another version or model ({error!s:.200})")


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


class RunState:
    """All that a run consists of while it trains.

    Args:
        model: what trains.
        optimizer: its optimiser.
        accelerator: knows the other processes; all of them call every method at the same time.
        folder: the run's.
        config: the resolved configuration, saved with every checkpoint.
        keep: how many checkpoints are kept.

    Attributes:
        progress: where it stands.
    """

    def __init__(
        self,
        model: Segmenter,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        *,
        folder: Path,
        config: str,
        keep: int,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.accelerator = accelerator
        self.folder = folder
        self.config = config
        self.checkpoints = Store(folder / "checkpoints", keep=keep)
        self.progress = Progress()
        if accelerator.is_main_process:
            self.checkpoints.clean_up()
        accelerator.wait_for_everyone()  # before any of them looks for the newest

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint of this step.

        Raises:
            OSError: it can't be written; the former one is still whole.
        """
        training = self._training()
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.progress.step, self.model, config=self.config, training=training, best=best)
        self.accelerator.wait_for_everyone()

    def restore(self, *, num_batches: int) -> None:
        """Put everything back as the newest whole checkpoint has it; leave it where there is none.

        Args:
            num_batches: forward passes of this process in an epoch.

        Raises:
            ValueError: there are checkpoints, but none is whole; or it does not fit the model, data or processes.
            OSError: one can't be read.
        """
        checkpoint = self.checkpoints.newest()
        if checkpoint is None:
            logger.info("nothing to resume in %s: starting anew", self.checkpoints.folder)
            return
        state = load_training(checkpoint)
        try:
            saved, now = len(state["rng"]), self.accelerator.num_processes
            progress = Progress(**state["progress"])
            if missing := asdict(progress).keys() - state["progress"].keys():
                raise ValueError(f"it does not say {', '.join(sorted(missing))}")
            if progress.batch > num_batches:
                raise ValueError(f"it stands at batch {progress.batch} of an epoch of {num_batches}")
        except UNFIT as error:
            raise _unfit(checkpoint, error) from error
        if saved != now:
            raise ValueError(f"{checkpoint} was saved by {saved} processes, not {now}: go on with as many")
        load_weights(self.model, checkpoint)
        try:
            self.optimizer.load_state_dict(fitting_state(state["optimizer"], self.optimizer))
            set_rng_state(state["rng"][self.accelerator.process_index])
        except UNFIT as error:
            raise _unfit(checkpoint, error) from error
        self.progress = progress
        self.accelerator.wait_for_everyone()  # all have read it
        if self.accelerator.is_main_process:
            self.checkpoints.go_back_to(checkpoint, best_step=progress.best_step)
        logger.info("resumed from %s, in epoch %d", checkpoint, self.progress.epoch + 1)

    def heed(self, guard: Guard, train_set: TrainSet) -> None:
        """Count and tell the steps that were left out since the last time.

        Raises:
            ValueError: there is one, and the guard is to stop.
        """
        for bad in guard.bad_steps():
            if guard.stop:
                raise self.diverged(bad, train_set)
            logger.warning("step %d is left out: %s", bad.step, told(bad))
            self.progress.skipped += 1

    def stopped(self, num_steps: int) -> StoppedError:
        """The end of a run that was asked to stop, and has saved."""
        return StoppedError(
            f"stopped as asked, at step {self.progress.step} of {num_steps}; everything is saved in "
            f"{self.checkpoints.folder}: go on with resume=true"
        )

    def diverged(self, bad: Seen, train_set: TrainSet) -> ValueError:
        """The end of a run with a loss or gradient that is not finite; what led to it is kept for inspection.

        Weights and optimiser are as they were before that step, since when none has changed them; but dropout may have
        drawn random numbers.
        """
        self.progress.step, self.progress.batch = bad.step - 1, bad.batch
        seen = told(bad)
        folder = self.folder / "diverged" / NAME.format(self.progress.step + 1)
        training = self._training()
        kept = f"{folder} holds the state before this step, and the batch"
        if self.accelerator.is_main_process:
            try:
                save_checkpoint(folder, self.model, config=self.config, training=training)
                save_for_inspection(folder, seen, default_collate([train_set[index] for index in seen["indices"]]))
            except (OSError, ValueError) as error:  # ValueError: an image can't be read any more
                reason = getattr(error, "strerror", None) or error
                kept = f"The state before it could not be kept in {folder} ({reason})"
        self.accelerator.wait_for_everyone()  # the first to end might take the others with it
        losses = ", ".join(f"{loss:.4g}" for loss in seen["losses"])
        return ValueError(
            f"training diverged at step {self.progress.step + 1}, in epoch {self.progress.epoch + 1}: loss {losses}, "
            f"norm of the gradient {seen['gradient_norm']:.4g}, images {', '.join(seen['images'])}. No weight was "
            f"changed by it. {kept}. Look at the images, lower "
            "engine.lr, or leave such steps out with engine.on_divergence=skip; then go on with resume=true"
        )

    def _training(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "rng": gather_object([rng_state()]),
            "progress": asdict(self.progress),
        }
