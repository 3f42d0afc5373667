"""What ``engine`` holds in the configuration, checked."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import torch

from ipsam.engine.metrics import METRICS
from ipsam.utils.device import PRECISIONS, best_device, uses_bf16

ON_DIVERGENCE = ("stop", "skip")
LIMITS = {"batch_size": 1024, "eval_batch_size": 1024, "num_workers": 256, "num_threads": 1024}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train and evaluate.

    Attributes:
        epochs: passes over the training set.
        batch_size: images a process and forward pass.
        accumulate: forward passes an optimiser step.
        lr, min_lr: highest and lowest learning rate of the cosine.
        warmup_steps: optimiser steps of the linear rise before it.
        weight_decay: AdamW's.
        clip: largest norm of the whole gradient.
        precision: ``auto`` is bf16 where the device has it; ``fp32``; ``bf16``.
        cpu: stay on the CPU though there is a GPU.
        num_threads: CPU threads of a process; 0 leaves it to torch. A tiny model is fastest on one.
        num_workers: processes that read data; in evaluation as many more score predictions.
        eval_batch_size: images a forward pass in evaluation.
        log_every: optimiser steps between two entries in the log.
        val_every: epochs between two looks at what is held out.
        save_every: optimiser steps between two checkpoints; the end of each epoch is always saved.
        keep: how many of the newest checkpoints are kept; the best one is kept besides.
        best: the metric of the held-out part by which the checkpoint ``best`` is chosen.
        on_divergence: at a loss or gradient that is not finite, ``stop``, or ``skip`` the step and count it.
        deterministic: use only algorithms that give equal bits whenever they are repeated on a machine.
        references: also report the untrained model and the best constant map.
        fast: in training the fused optimiser, batches copied beside the step and LoRA added by ``addmm``; in
            evaluation merged, prepared weights; false: the plain way of each.
        compile: by ``torch.compile``.
        activation_checkpointing: compute the inside of the encoder's blocks again in the backward pass.
        memory_gb: GB (2**30 bytes) that a step may take, for which as few blocks as possible are computed again; None
            leaves it to ``activation_checkpointing``.
        loss: weight of each supervised output.
    """

    epochs: int = 100
    batch_size: int = 1
    accumulate: int = 1
    lr: float = 1e-4
    min_lr: float = 1e-6
    warmup_steps: int = 500
    weight_decay: float = 1e-4
    clip: float = 1.0
    precision: str = "auto"
    cpu: bool = False
    num_threads: int = 0
    num_workers: int = 4
    eval_batch_size: int = 1
    log_every: int = 20
    val_every: int = 1
    save_every: int = 1000
    keep: int = 2
    best: str = "sm"
    on_divergence: str = "stop"
    deterministic: bool = False
    references: bool = False
    fast: bool = True
    compile: bool = False
    activation_checkpointing: bool = False
    memory_gb: float | None = None
    loss: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, default = getattr(self, entry.name), entry.default
            whole = isinstance(default, int) and not isinstance(default, bool)
            if whole and (not isinstance(value, int) or isinstance(value, bool)):
                raise ValueError(f"engine.{entry.name} must be a whole number, not {value!r}")
            if isinstance(default, float) and (not isinstance(value, int | float) or isinstance(value, bool)):
                raise ValueError(f"engine.{entry.name} must be a number, not {value!r}")
            if isinstance(default, bool) and not isinstance(value, bool):
                raise ValueError(f"engine.{entry.name} must be true or false, not {value!r}")
        for name in (
            *("epochs", "batch_size", "accumulate", "eval_batch_size"),
            *("log_every", "val_every", "save_every", "keep"),
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"engine.{name} must be at least 1, not {getattr(self, name)}")
        for name, limit in LIMITS.items():
            if getattr(self, name) > limit:
                raise ValueError(f"engine.{name} must be at most {limit}, not {getattr(self, name)}")
        for name in ("num_threads", "num_workers", "warmup_steps", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"engine.{name} must not be negative, but is {getattr(self, name)}")
        if not 0 < self.min_lr <= self.lr < math.inf:
            raise ValueError(f"engine needs 0 < min_lr <= lr, not min_lr={self.min_lr}, lr={self.lr}")
        if not self.clip > 0:
            raise ValueError(f"engine.clip must be above 0, not {self.clip}")
        if self.memory_gb is not None:
            if (
                isinstance(self.memory_gb, bool)
                or not isinstance(self.memory_gb, int | float)
                or not self.memory_gb > 0
            ):
                raise ValueError(f"engine.memory_gb must be a number above 0, or null, not {self.memory_gb!r}")
            if self.activation_checkpointing:
                raise ValueError(
                    "engine.memory_gb chooses what is computed again: leave engine.activation_checkpointing=false"
                )
        if self.precision not in PRECISIONS:
            raise ValueError(f"engine.precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}")
        if self.on_divergence not in ON_DIVERGENCE:
            raise ValueError(
                f"engine.on_divergence must be one of {', '.join(ON_DIVERGENCE)}, not {self.on_divergence!r}"
            )
        if self.best not in METRICS:
            raise ValueError(f"engine.best must be one of {', '.join(METRICS)}, not {self.best!r}")
        if not isinstance(self.loss, Mapping):
            raise ValueError(f"engine.loss must give a weight for each of some outputs, not {self.loss!r}")
        if unknown := sorted(self.loss.keys() - {entry.name for entry in fields(LossWeights)}):
            raise ValueError(f"unknown key engine.loss.{unknown[0]}")
        LossWeights(**self.loss)  # complain now of a wrong weight

    def set_up_process(self) -> None:
        """Give this process ``num_threads`` CPU threads, and only such algorithms as ``deterministic`` allows."""
        if self.num_threads:
            torch.set_num_threads(self.num_threads)
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
            torch.backends.cudnn.benchmark = False
            torch.use_deterministic_algorithms(True)

    @property
    def device(self) -> torch.device:
        """Where the run computes."""
        return torch.device("cpu") if self.cpu else best_device()

    @property
    def fused(self) -> bool:
        """Whether one kernel takes the optimiser's step; of Apple's it is not known whether it leaves out a bad one."""
        return self.fast and self.device.type in ("cpu", "cuda")

    @property
    def bf16(self) -> bool:
        """Whether to compute in bf16 (weights and optimiser stay in fp32)."""
        return uses_bf16(self.precision, self.device)

    def lr_at(self, step: int, num_steps: int) -> float:
        """Learning rate of optimiser step ``step``, counted from 0, of ``num_steps``: linear rise, then cosine."""
        if step < self.warmup_steps:
            return self.lr * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, num_steps - self.warmup_steps)
        return self.min_lr + (self.lr - self.min_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


@dataclass(frozen=True)
class LossWeights:
    """Weight of each supervised output; an output that the model does not make has no term."""

    coarse: float = 1.0
    refined: float = 1.0
    fg: float = 1.0
    bg: float = 1.0
    auxiliary: float = 0.1

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < math.inf:
                raise ValueError(f"engine.loss.{entry.name} must be a number, 0 or above, not {value!r}")
