"""Estimate of a training step's memory, without running the step."""

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ipsam.engine.runs.settings import Settings
from ipsam.engine.train.fake_step import copy_without_weights, fake_step, storage_id
from ipsam.model import Segmenter
from ipsam.model.activation_checkpointing import encoder_blocks
from ipsam.model.lora import add_lora_by_addmm

GB = 1 << 30
OUTSIDE = -1  # index for tensors outside all blocks
MARGIN = 1.1  # for short-lived tensors of the backward pass

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step on one device.

    Attributes:
        fixed: weights; for trainable ones also gradients, AdamW's two moments and, if distributed, gradient buckets.
        outside: tensors that the forward pass saves outside the encoder's blocks.
        blocks: tensors that it saves in each block.
        inputs: input of each block.
    """

    fixed: int
    outside: int
    blocks: list[int]
    inputs: list[int]

    def peak(self, num_recomputed: int) -> int:
        """Estimate the peak with the first blocks recomputed: only one at a time holds more than its input."""
        recomputed, others = self.blocks[:num_recomputed], self.blocks[num_recomputed:]
        saved = self.outside + sum(others) + sum(self.inputs[:num_recomputed])
        return self.fixed + int(MARGIN * (saved + max(recomputed, default=0)))

    def min_recomputed(self, limit: int) -> int | None:
        """Return the smallest number of recomputed blocks with a peak within ``limit`` bytes, or None."""
        return next((count for count in range(len(self.blocks) + 1) if self.peak(count) <= limit), None)


def num_recomputed(model: Segmenter, settings: Settings) -> int | None:
    """Return how many encoder blocks a step must recompute in the backward pass, see ``recompute_blocks``.

    Raises:
        ValueError: a step exceeds ``engine.memory_gb`` with all blocks recomputed, or cannot be estimated.
    """
    if settings.memory_gb is None:
        return None if settings.activation_checkpointing else 0
    if settings.fast:
        model = copy_without_weights(model)
        add_lora_by_addmm(model)
    try:
        memory = step_memory(model, batch_size=settings.batch_size, device=settings.device, bf16=settings.bf16)
    except ValueError as error:
        raise ValueError(f"engine.memory_gb: {error}; set engine.activation_checkpointing instead") from error
    num_blocks, count = len(memory.blocks), memory.min_recomputed(int(settings.memory_gb * GB))
    if count is None:
        raise ValueError(
            f"engine.memory_gb={settings.memory_gb} is too small: with all blocks recomputed a step takes about "
            f"{memory.peak(num_blocks) / GB:.2f} GB; raise it, or lower engine.batch_size or data.image_size"
        )
    logger.info("%d of %d blocks recomputed: about %.2f GB a step", count, num_blocks, memory.peak(count) / GB)
    return count


def step_memory(
    model: Segmenter, *, batch_size: int, device: torch.device, bf16: bool, counter: FlopCounterMode | None = None
) -> StepMemory:
    """Estimate the memory of a forward pass, backward pass and optimiser step on fake tensors.

    Args:
        model: model before ``recompute_blocks``.
        batch_size: images in the forward pass.
        device: device to train on.
        bf16: whether it trains under bf16 autocast.
        counter: counts the operations of forward and backward pass.

    Raises:
        ValueError: see ``fake_step``.
    """
    trainable = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    copies = 3 if PartialState().num_processes == 1 else 4
    fixed = copies * trainable + sum(tensor.nbytes for tensor in model.state_dict().values())
    saved: dict[int, dict[int, int]] = defaultdict(dict)  # bytes by block and storage
    alive: list[Tensor] = []  # a storage's id is unique only while it lives
    inputs: dict[int, int] = {}
    current = [OUTSIDE]

    def save(tensor: Tensor) -> None:
        storage = storage_id(tensor)
        if not any(storage in others for others in saved.values()):
            saved[current[0]][storage] = tensor.untyped_storage().nbytes()
            alive.append(tensor)

    def enter(index: int, arguments: tuple[Any, ...]) -> None:
        current[0], inputs[index] = index, arguments[0].nbytes

    def leave(*_: object) -> None:
        current[0] = OUTSIDE

    model = copy_without_weights(model)
    for index, block in enumerate(encoder_blocks(model)):
        block.register_forward_pre_hook(lambda _, arguments, index=index: enter(index, arguments))
        block.register_forward_hook(leave)
    fake_step(model, batch_size=batch_size, device=device, bf16=bf16, counter=counter, on_save=save)
    blocks = sorted(inputs)
    return StepMemory(
        fixed,
        outside=sum(saved[OUTSIDE].values()),
        blocks=[sum(saved[index].values()) for index in blocks],
        inputs=[inputs[index] for index in blocks],
    )
