"""State of a training run: save, restore, and end early."""

import json
import logging
import math
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import default_collate

from ipsam.data import TrainSet
from ipsam.engine.runs.checkpoint import load_training, load_weights, other_versions, save_checkpoint
from ipsam.engine.runs.run_folder import LOG
from ipsam.engine.runs.settings import Settings
from ipsam.engine.runs.store import BEST, NAME, Store
from ipsam.engine.train.divergence import DivergenceGuard, StepRecord
from ipsam.engine.train.loss_scale import LossScale
from ipsam.engine.train.optimizer import fitting_state
from ipsam.engine.train.progress import Progress
from ipsam.model import Segmenter
from ipsam.utils.console import counted
from ipsam.utils.processes import from_main
from ipsam.utils.rng import rng_state, seed_everything, set_rng_state
from ipsam.utils.signals import StoppedError

MAX_SKIPPED = 20  # steps in a row
SCALE, STEP_IMAGES = "loss_scale", "step_images"  # in training.pt
WAY_OUT = "Look at the images; continue with resume=true engine.lr=... allow_change=[engine.lr], a lower rate"
# Errors that a malformed state raises.
MALFORMED = (TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError, LookupError)

logger = logging.getLogger(__name__)


class RunState:
    """Model, optimiser and progress of a run, with its checkpoints.

    All processes call every method together.

    Args:
        accelerator: connection to the other processes.
        folder: run folder.
        config: resolved configuration, saved with every checkpoint.
        settings: the run's.
        scale: scale of the loss, saved if it is enabled.
    """

    def __init__(
        self,
        model: Segmenter,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        *,
        folder: Path,
        config: str,
        settings: Settings,
        scale: LossScale | None = None,
    ) -> None:
        self.model, self.optimizer, self.accelerator = model, optimizer, accelerator
        self.folder, self.config, self.settings = folder, config, settings
        self.scale = scale or LossScale(accelerator.device, enabled=False)
        self.checkpoints = Store(folder / "checkpoints", keep=settings.keep)
        self.progress = Progress()
        self._bad_in_a_row, self._last_bad = 0, 0
        if accelerator.is_main_process:
            self.checkpoints.clean_up()

    def save(self, *, best: bool = False) -> None:
        """Write a checkpoint of this step; ``Store.save`` names the errors."""
        training = self._training()
        if self.accelerator.is_main_process:
            self.checkpoints.save(self.progress.step, self.model, config=self.config, training=training, best=best)
        self.accelerator.wait_for_everyone()

    def restore(self, *, num_images: int) -> Settings:
        """Restore everything from the newest intact checkpoint, if there is one; the weights in the main process alone.

        The number of processes may be another than the checkpoint's: a step then has the same images, shared otherwise.

        Args:
            num_images: images in an epoch.

        Returns:
            The settings, with the batch size and the passes of a step that these processes need.

        Raises:
            ValueError: all are damaged; or it does not fit the model, the data or the number of processes.
            OSError: a checkpoint cannot be read.
        """
        checkpoint, state = from_main(self._read_newest)
        if checkpoint is None:
            logger.info("no checkpoint in %s: starting from the beginning", self.checkpoints.folder)
            return self.settings
        process, now = self.accelerator.process_index, self.accelerator.num_processes
        try:
            saved = len(state["rng"])
            images = state.get(STEP_IMAGES, self.settings.batch_size * self.settings.accumulate * saved)
            before = self.settings.with_steps_of(images, saved)
            progress = Progress(**state["progress"])
            if missing := Progress.model_fields.keys() - state["progress"].keys():
                raise ValueError(f"progress lacks {', '.join(sorted(missing))}")
            if progress.batch > (num_passes := before.num_passes(num_images, saved)):
                raise ValueError(f"it is at batch {progress.batch} of an epoch of {num_passes} batches")
            self.optimizer.load_state_dict(fitting_state(state["optimizer"], self.optimizer))
            set_rng_state(state["rng"][process % saved])
            if process >= saved:  # it has no state of its own
                seed_everything(int(torch.randint(1 << 31, ())) + process)
            if SCALE in state:  # else begun in another precision
                self.scale.load(state[SCALE])
        except MALFORMED as error:
            raise _does_not_fit(checkpoint, error) from error
        self.settings = self.settings.with_steps_of(images, now)
        self.accelerator.gradient_accumulation_steps = self.settings.accumulate
        if saved != now:
            steps = math.ceil(progress.batch / before.accumulate)
            progress.batch = min(steps * self.settings.accumulate, self.settings.num_passes(num_images, now))
            self._log_sharing(saved, before.batch_size, images)
        self.progress = progress
        if self.accelerator.is_main_process:
            self.checkpoints.go_back_to(checkpoint, best_step=progress.best_step)
            if others := other_versions(checkpoint):
                logger.warning("saved with %s: training may continue to other bits", ", ".join(others))
        logger.info("resumed from %s, in epoch %d", checkpoint, self.progress.epoch + 1)
        return self.settings

    def _read_newest(self) -> tuple[Path | None, dict[str, Any]]:
        checkpoint = self.checkpoints.newest()
        if checkpoint is None:
            return None, {}
        state = load_training(checkpoint)
        load_weights(self.model, checkpoint)
        return checkpoint, state

    def _log_sharing(self, saved: int, batch_size: int, images: int) -> None:
        size, passes = self.settings.batch_size, self.settings.accumulate
        logger.info(
            "saved by %d processes, resumed by %d: each takes engine.batch_size=%d in engine.accumulate=%d passes, "
            "together the same %d images a step",
            *(saved, self.accelerator.num_processes, size, passes, images),
        )
        if size != batch_size and any(isinstance(module, _BatchNorm) for module in self.model.modules()):
            words = "batch norm sees %d images at once, not %d as before: the run continues to other weights"
            logger.warning(words, size, batch_size)

    def log_schedule(self, num_steps: int) -> None:
        """Log the schedule from a resumed step on, which is another one if ``engine.epochs`` has grown."""
        step, settings = self.progress.step, self.settings
        if self.accelerator.is_main_process and 0 < step < num_steps:
            lr = settings.lr_at(step, num_steps)
            words = (settings.schedule, settings.epochs, num_steps, step + 1, lr)
            logger.info("the %s schedule is that of %d epochs, %d steps: step %d has a learning rate of %.3g", *words)

    def check_skipped(self, guard: DivergenceGuard, train_set: TrainSet) -> None:
        """Count and log the steps that were skipped since the last call.

        Raises:
            ValueError: a step was bad, and the guard is to stop; or ``MAX_SKIPPED`` steps in a row were bad.
        """
        for record, is_bad in guard.skipped_steps():
            if is_bad and guard.stop:
                raise self.diverged(record, train_set)
            step = record.gather()
            if is_bad:
                logger.warning("step %d is skipped: %s", record.step, step)
            else:
                logger.info("step %d is skipped: its gradient overflows in fp16; the loss is scaled less", record.step)
            self.progress.skipped += 1
            self._bad_in_a_row = self._bad_in_a_row + 1 if record.step == self._last_bad + 1 else 1
            self._last_bad = record.step
            if self._bad_in_a_row == MAX_SKIPPED:
                raise ValueError(
                    f"training diverged: {MAX_SKIPPED} steps in a row, up to step {record.step}, had to be skipped, as "
                    "their losses or gradients were not finite. Images of the last: "
                    f"{', '.join(step['images'])}. {WAY_OUT}"
                )

    def log_epoch(self, num_epochs: int, loss: float | None, metric: str | None, timing: str) -> None:
        """Log a line about the epoch that has ended.

        Args:
            loss: the last step's.
            timing: of its steps, see ``Telemetry``.
            metric: the one of the validation's scores that selects the best checkpoint; None without a validation.
        """
        progress = self.progress
        line = f"epoch {progress.epoch} of {num_epochs}, step {progress.step}"
        line += "" if loss is None else f": loss {loss:.4f}{timing}"
        if metric is not None:
            is_best = progress.best_step == progress.step
            best = "the best so far" if is_best else f"best so far: {self._best(metric)}"
            line += f"; validation: {metric} {progress.history[-1][metric]:.4f} ({best})"
        if self.accelerator.is_main_process:
            logger.info(line)

    def finish(self, metric: str) -> None:
        """Log the end of the training.

        Raises:
            ValueError: all steps were skipped.
        """
        progress = self.progress
        if progress.skipped == progress.step:
            raise ValueError(
                f"training diverged: all {progress.step} steps had to be skipped, as their losses or gradients were "
                f"not finite, and the model is untrained; {self.folder / LOG} names their images. Start again with "
                "overwrite=true and a lower engine.lr"
            )
        skipped = f", {progress.skipped} of them skipped" if progress.skipped else ""
        best = "" if progress.best is None else f"; best validation: {self._best(metric)}, checkpoints/{BEST}"
        if self.accelerator.is_main_process:
            trained = counted(progress.epoch, "epoch"), counted(progress.step, "step")
            logger.info("trained %s, %s%s%s", *trained, skipped, best)

    def _best(self, metric: str) -> str:
        best = self.progress.best
        epoch = next(scores["epoch"] for scores in self.progress.history if scores.get(metric) == best)
        return f"{metric} {best:.4f} in epoch {epoch}"

    def stopped(self, num_steps: int) -> StoppedError:
        """Make the error that ends a run on request, after it has saved."""
        return StoppedError(
            f"stopped on request at step {self.progress.step} of {num_steps}; everything is saved in "
            f"{self.checkpoints.folder}: continue with resume=true"
        )

    def diverged(self, record: StepRecord, train_set: TrainSet) -> ValueError:
        """Make the error that ends a run at a bad step, and save the state before it with the step's images.

        Weights and optimiser are as they were before that step; only dropout may have drawn random numbers since.
        """
        self.progress.step, self.progress.batch = record.step - 1, record.batch
        step = record.gather()
        folder = self.folder / "diverged" / NAME.format(self.progress.step + 1)
        training = self._training()
        kept = f"{folder} holds the state before this step, and the batch"
        if self.accelerator.is_main_process:
            try:
                save_checkpoint(folder, self.model, config=self.config, training=training)
                (folder / "step.json").write_text(json.dumps(step, indent=2) + "\n", encoding="utf-8")
                batch = default_collate([train_set[index] for index in step["indices"]])
                tensors = {name: batch[name].contiguous() for name in ("image", "mask")}
                (folder / "batch.safetensors").write_bytes(safetensors.torch.save(tensors))
            except (OSError, ValueError) as error:  # ValueError: an image can no longer be read
                reason = getattr(error, "strerror", None) or error
                kept = f"The state before it could not be saved in {folder} ({reason})"
        self.accelerator.wait_for_everyone()  # the first process to end might take the others with it
        losses = ", ".join(f"{loss:.4g}" for loss in step["losses"])
        return ValueError(
            f"training diverged at step {self.progress.step + 1}, in epoch {self.progress.epoch + 1}: loss {losses}, "
            f"gradient norm {step['gradient_norm']:.4g}, images {', '.join(step['images'])}. The step changed no "
            f"weight. {kept}. {WAY_OUT}, or with engine.on_divergence=skip, which skips such steps"
        )

    def _training(self) -> dict[str, Any]:
        state = {
            "optimizer": self.optimizer.state_dict(),
            "rng": gather_object([rng_state()]),
            "progress": self.progress.model_dump(),
            STEP_IMAGES: self.settings.batch_size * self.settings.accumulate * self.accelerator.num_processes,
        }
        return state | ({SCALE: self.scale.state()} if self.scale.enabled else {})


def _does_not_fit(checkpoint: Path, error: Exception) -> ValueError:
    return ValueError(f"cannot resume from {checkpoint}: it is from another version or model ({error!s:.200})")
