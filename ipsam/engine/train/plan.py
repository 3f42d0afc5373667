"""Estimated cost of a run: parameters, steps, operations, memory and hours."""

import logging
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch.utils import flop_counter
from torch.utils.flop_counter import FlopCounterMode

from ipsam.data import Data, TrainSet
from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.configuration import build_model, drop_checkpoints, settings_of
from ipsam.engine.runs.provenance import count_parameters
from ipsam.engine.runs.settings import Settings
from ipsam.engine.train.fake_step import copy_without_weights, fake_step
from ipsam.engine.train.memory import GB, StepMemory, step_memory
from ipsam.engine.train.optimizer import parameter_groups
from ipsam.model import Segmenter
from ipsam.model.activation_checkpointing import recompute_blocks
from ipsam.utils.console import counted
from ipsam.utils.device import matrix_rate, processes

# FLOP/s in bf16 with fp32 accumulation, dense, from NVIDIA's data sheets; of the H100 the SXM module.
CARDS = {"RTX 3090": 71e12, "RTX 4090": 165e12, "A100": 312e12, "H100": 989e12}
UTILISATION = 0.35  # assumed share of that rate; at batch size 1 fast cards may reach less
LARGE = 20.0  # millions of parameters from which a run on a CPU gets a warning
PRODUCT = 1024  # side of the matrices whose product measures a CPU's rate
_formulas: Any = flop_counter  # untyped
# Operators that torch's counter does not know, with the shapes of their inputs.
ON_CPU: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *_, **__: _formulas.sdpa_flop_count(query, key, value)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda output, query, key, value, *_, **__: _formulas.sdpa_backward_flop_count(output, query, key, value)
    ),
}
NOTES = """\
Estimates. FLOPs: forward and backward pass, counted by torch, two for a multiplication with its addition. Memory:
weights, gradients, AdamW's moments and activations in {precision}, without CUDA's context. Hours: of training alone,
at {utilisation:.0%} of a card's dense bf16 rate ({rates} TFLOP/s).
A small model, and a small batch on a fast card, reach less of it and take longer."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """Cost of a run.

    Attributes:
        param, t_param: all and trainable parameters, in millions.
        num_pairs: training pairs.
        is_published: whether ``num_pairs`` is the published number, because the files were not found.
        epochs: passes over them.
        epoch_steps: optimiser steps in an epoch.
        flops: floating-point operations of an optimiser step on one device, without and with activation checkpointing.
        memory: of a step.
        bf16: whether the model trains in bf16.
    """

    param: float
    t_param: float
    num_pairs: int
    is_published: bool
    epochs: int
    epoch_steps: int
    flops: tuple[int, int]
    memory: StepMemory
    bf16: bool

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the run."""
        return self.epochs * self.epoch_steps

    def gigabytes(self, *, checkpointing: bool) -> float:
        """Return the peak memory of a step, without or with activation checkpointing of all blocks."""
        return self.memory.peak(len(self.memory.blocks) if checkpointing else 0) / GB

    def hours(self, card: str, *, checkpointing: bool) -> float:
        """Return the hours of training on a card of ``CARDS``."""
        return self.num_steps * self.flops[checkpointing] / (UTILISATION * CARDS[card]) / 3600

    def cells(self, *, checkpointing: bool, cards: Iterable[str] = CARDS) -> list[str]:
        """Format GFLOPs and GB of a step, and the hours on each card."""
        hours = [self.hours(card, checkpointing=checkpointing) for card in cards]
        return [
            f"{self.flops[checkpointing] / 1e9:,.0f}",
            f"{self.gigabytes(checkpointing=checkpointing):.1f}",
            *(f"{each:.1f}" if each >= 0.1 else "<0.1" for each in hours),
        ]

    def report(self) -> str:
        """Format the plan as Markdown."""
        published = " (the published number: their files were not found)" if self.is_published else ""
        rows = [["off", *self.cells(checkpointing=False)], ["on", *self.cells(checkpointing=True)]]
        header = ["activation checkpointing", "GFLOPs a step", "GB a step", *(f"{card}, hours" for card in CARDS)]
        return "\n".join(
            [
                f"parameters: {self.t_param:.2f} M trainable of {self.param:.2f} M",
                f"steps: {self.num_steps:,}, {counted(self.epochs, 'epoch')} of {self.epoch_steps:,}",
                f"training pairs: {self.num_pairs:,}{published}",
                "",
                markdown(header, rows),
                "",
                notes(bf16=self.bf16),
            ]
        )


def notes(*, bf16: bool = True) -> str:
    """Explain the figures of a plan."""
    rates = ", ".join(f"{name}: {rate / 1e12:.0f}" for name, rate in CARDS.items())
    text = NOTES.format(precision="bf16" if bf16 else "fp32", utilisation=UTILISATION, rates=rates)
    return text if bf16 else f"{text} So does fp32: 2 to 15 times as long."


def plan_run(config: DictConfig, *, published: bool = False) -> Plan | None:
    """Estimate the cost of the run that a configuration describes; None if it trains nothing.

    Pretrained weights are not read. Each process of several is planned as one of so many devices.

    Args:
        config: as ``ipsam train`` composes it.
        published: take the published number of training pairs instead of looking for them.

    Raises:
        ValueError, FileNotFoundError, ImportError: the configuration is invalid; a set without a published number is
            missing; the cost cannot be estimated.
    """
    settings, data = settings_of(Settings, config.engine, "engine"), settings_of(Data, config.data, "data")
    section = config.model.copy()
    drop_checkpoints(section)
    model = build_model(section)
    param, t_param = count_parameters(model)
    if not t_param:
        return None
    parameter_groups(model, settings)  # refuses those that training would
    num_pairs, is_published = _num_pairs(data, config.seed, published=published)
    num_epoch_steps = epoch_steps(num_pairs, settings)  # joins the processes, before the memory's estimate counts them
    model.to("meta")
    bf16 = settings.precision != "fp32"
    device = settings.device if settings.device.type == "cuda" else torch.device("cpu")  # stands in for a card
    how: dict[str, Any] = {"batch_size": settings.batch_size, "device": device, "bf16": bf16}
    memory = step_memory(model, **how, counter=(straight := _counter()))
    recomputed = step_flops(model, **how, checkpointing=True)
    return Plan(
        param,
        t_param,
        num_pairs,
        is_published,
        settings.epochs,
        num_epoch_steps,
        flops=(settings.accumulate * straight.get_total_flops(), settings.accumulate * recomputed),
        memory=memory,
        bf16=bf16,
    )


def epoch_steps(num_pairs: int, settings: Settings) -> int:
    """Return the optimiser steps in an epoch of ``num_pairs`` training pairs, which all processes share."""
    num_processes: int = processes(cpu=settings.cpu).num_processes
    return math.ceil(settings.num_passes(num_pairs, num_processes) / settings.accumulate)


def step_flops(model: Segmenter, *, batch_size: int, device: torch.device, bf16: bool, checkpointing: bool) -> int:
    """Count the floating-point operations of a forward and backward pass, two for a multiplication with its addition.

    Raises:
        ValueError: see ``fake_step``.
    """
    model, counter = copy_without_weights(model), _counter()
    if checkpointing:
        recompute_blocks(model)
    fake_step(model, batch_size=batch_size, device=device, bf16=bf16, counter=counter)
    return int(counter.get_total_flops())


def warn_of_cpu(model: Segmenter, train_set: TrainSet | None, settings: Settings) -> None:
    """Log how long the training of a large model takes on a CPU."""
    param, t_param = count_parameters(model)
    if settings.device.type != "cpu" or param < LARGE or not t_param or train_set is None:
        return
    if not processes(cpu=settings.cpu).is_main_process:
        return
    how: dict[str, Any] = {"batch_size": settings.batch_size, "device": settings.device, "bf16": settings.bf16}
    with suppress(ValueError):  # such a model trains all the same
        flops = settings.accumulate * step_flops(model, **how, checkpointing=settings.activation_checkpointing)
        rate = matrix_rate(settings.device, bf16=settings.bf16, side=PRODUCT)
        num_steps = settings.epochs * epoch_steps(len(train_set), settings)
        logger.warning(
            "training a large model on a CPU: a step takes at least %.2g s (%.2g TFLOPs at the %.2g TFLOP/s of a "
            "matrix product here), and the run's %d steps %s; plan=true estimates the hours on GPUs",
            *(flops / rate, flops / 1e12, rate / 1e12, num_steps, _duration(num_steps * flops / rate)),
        )


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=ON_CPU)


def _num_pairs(data: Data, seed: int, *, published: bool) -> tuple[int, bool]:
    """Return the number of training pairs, and whether it is the published one."""
    if not published:
        try:
            train_set, _ = data.model_copy(update={"cache": None}).train_and_val(seed)
        except FileNotFoundError:
            if any(isinstance(spec, Mapping) for spec in data.train):
                raise
        else:
            if train_set is None:
                raise ValueError("data.train is empty: name at least one set to train on")
            return len(train_set), False
    return data.published_num_train(), True


def _duration(seconds: float) -> str:
    if seconds < 2 * 3600:
        return counted(math.ceil(seconds / 60), "minute")
    return f"{seconds / 3600:.0f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} days"
