"""Options of the section ``engine``: how to train and evaluate."""

import math
import os
import re
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator, model_validator

from ipsam.engine.metrics import METRICS
from ipsam.utils.device import PRECISIONS, best_device, uses_bf16
from ipsam.utils.options import Options, one_of
from ipsam.utils.worker_pool import num_cpus

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
POLY_POWER = 0.9
FP16 = "fp16"  # a precision of training only
MAX_PROCESSES = 1024  # that an error proposes
STEPS_AT = (0.5, 0.75)  # shares of the run after which the schedule ``step`` lowers the learning rate tenfold


class Weights(Options):
    """Weights of a sum, not all 0."""

    @model_validator(mode="after")
    def _check_any(self) -> "Weights":
        if not any(weight for _, weight in self):
            raise ValueError(f"at least one of {', '.join(type(self).model_fields)} must have a weight above 0")
        return self


class LossWeights(Weights):
    """Weight of each supervised output; an output that the model does not make has no term."""

    coarse: Weight
    refined: Weight
    fg: Weight
    bg: Weight
    auxiliary: Weight


class TermWeights(Weights):
    """Weight of each term of the mask loss; a term of weight 0 is not computed."""

    bce: Weight
    iou: Weight
    l1: Weight
    dice: Weight


class ParameterGroup(Options):
    """Learning rate and weight decay of the parameters with a name that ``match`` finds; None: the common decay."""

    match: str
    lr_scale: float = Field(1.0, gt=0, allow_inf_nan=False)
    weight_decay: float | None = Field(None, ge=0, allow_inf_nan=False)

    @field_validator("match")
    @classmethod
    def _is_regex(cls, value: str) -> str:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"must be a regular expression, not {value!r:.99} ({error})") from None
        return value


class Settings(Options):
    """Options of training and evaluation; configs/engine/default.yaml holds each key's meaning and default.

    Raises:
        OptionsError: a value is impossible, or two exclude each other.
    """

    epochs: Positive
    batch_size: Positive = Field(le=1024)
    accumulate: Positive
    lr: float = Field(gt=0, allow_inf_nan=False)
    min_lr: float = Field(gt=0, allow_inf_nan=False)
    schedule: Literal["cosine", "constant", "poly", "step"]
    warmup_steps: NotNegative
    warmup_share: float | None = Field(ge=0, le=1)
    weight_decay: Weight
    decay_all: bool
    groups: Annotated[
        Sequence[ParameterGroup], Field(description="a list of {match: REGEX, lr_scale: NUMBER, weight_decay: NUMBER}")
    ]
    clip: float = Field(gt=0)
    precision: Annotated[str, one_of((*PRECISIONS, FP16))]
    cpu: bool
    num_threads: NotNegative = Field(le=1024)
    num_workers: NotNegative = Field(le=256)
    eval_batch_size: Positive = Field(le=1024)
    log_every: Positive
    trackers: Sequence[Literal["tensorboard", "wandb", "trackio", "mlflow"]]
    profile_steps: Annotated[Sequence[Positive], Field(description="[] or [FIRST, LAST], whole numbers from 1")]
    val_every: Positive
    watch_test: NotNegative
    save_every: Positive
    keep: Positive
    timeout: Positive = Field(le=86_400)
    best: Annotated[str, one_of(METRICS)]
    on_divergence: Literal["stop", "skip"]
    deterministic: bool
    references: bool
    fast: bool
    compile: bool
    activation_checkpointing: bool
    memory_gb: float | None = Field(gt=0)
    terms: TermWeights
    loss: LossWeights

    @field_validator("num_workers")
    @classmethod
    def _at_most_the_cpus(cls, value: int) -> int:
        return min(value, num_cpus())  # more only wait for each other; results depend on no number of workers

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        if self.min_lr > self.lr:
            raise ValueError(f"min_lr must be at most lr, not min_lr={self.min_lr} with lr={self.lr}")
        if self.memory_gb is not None and self.activation_checkpointing:
            raise ValueError("memory_gb chooses what is computed again: leave activation_checkpointing=false")
        if self.profile_steps and (len(self.profile_steps) != 2 or self.profile_steps[0] > self.profile_steps[1]):
            raise ValueError(f"profile_steps must be [FIRST, LAST] or [], not {list(self.profile_steps)!r:.99}")
        return self

    def set_up_process(self) -> None:
        """Give this process ``num_threads`` CPU threads, and only such algorithms as ``deterministic`` allows."""
        if self.num_threads:
            torch.set_num_threads(self.num_threads)
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
            torch.backends.cudnn.benchmark = False
            torch.use_deterministic_algorithms(True)

    def with_steps_of(self, images: int, num_processes: int) -> "Settings":
        """Return settings with which a number of processes takes ``images`` in an optimiser step.

        The batch size stays if it can; otherwise it becomes the largest one below it that can.

        Raises:
            ValueError: the processes cannot share so many images evenly.
            TypeError: ``images`` is not a number.
        """
        share, rest = divmod(images, num_processes)
        if rest or share < 1:
            able = [str(number) for number in range(1, MAX_PROCESSES + 1) if images % number == 0]
            sizes = [str(number * num_processes) for number in (share, share + 1) if number > 0]
            raise ValueError(
                f"{num_processes} processes can't share the {images} images of an optimiser step evenly: resume with "
                f"one of {', '.join(able)}, or begin another run in which engine.batch_size x engine.accumulate x "
                f"processes is {' or '.join(sizes)}"
            )
        size = next(size for size in range(self.batch_size, 0, -1) if share % size == 0)
        return self.model_copy(update={"batch_size": size, "accumulate": share // size})

    def num_passes(self, num_images: int, num_processes: int) -> int:
        """Return the forward passes of each process in an epoch, whose batches the processes take in turns."""
        return math.ceil(math.ceil(num_images / self.batch_size) / num_processes)

    @property
    def device(self) -> torch.device:
        """Device of the run."""
        return torch.device("cpu") if self.cpu else best_device()

    @property
    def fused(self) -> bool:
        """Use the fused optimiser. MPS is excluded: skipping a step is untested there."""
        return self.fast and self.device.type in ("cpu", "cuda")

    @property
    def bf16(self) -> bool:
        """Compute in bf16; weights and optimiser stay in fp32."""
        return not self.fp16 and uses_bf16(self.precision, self.device)

    @property
    def fp16(self) -> bool:
        """Train in fp16 with a loss scale; evaluate in fp32."""
        return self.precision == FP16

    def num_warmup(self, num_steps: int) -> int:
        """Return the number of optimiser steps of the warm-up in a run of ``num_steps``."""
        return self.warmup_steps if self.warmup_share is None else round(self.warmup_share * num_steps)

    def lr_at(self, step: int, num_steps: int) -> float:
        """Return the learning rate of optimiser step ``step``, counted from 0, of ``num_steps``.

        It rises linearly in the warm-up and then follows ``schedule``.
        """
        warmup = self.num_warmup(num_steps)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "step":
            return self.lr / math.pow(10, sum(step >= share * num_steps for share in STEPS_AT))
        progress = min(1.0, (step - warmup) / max(1, num_steps - warmup))
        left = (
            math.pow(1 - progress, POLY_POWER) if self.schedule == "poly" else 0.5 * (1 + math.cos(math.pi * progress))
        )
        return self.min_lr + (self.lr - self.min_lr) * left
