"""Estimate of a training step's memory, without running the step."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
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
USABLE = 0.9  # share of a device's memory that a step can use, as its allocator leaves gaps
SIDE = 32  # pixels; images have a multiple of it

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
    is_half = settings.bf16 or settings.fp16
    try:
        memory = step_memory(model, batch_size=settings.batch_size, device=settings.device, bf16=is_half)
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


@contextmanager
def out_of_memory_explained(model: Segmenter, settings: Settings, num_blocks: int | None) -> Iterator[None]:
    """Turn a device's out-of-memory error in a training step into one that proposes settings which fit.

    Args:
        model: the model in training.
        num_blocks: how many blocks it recomputes; None for all.

    Raises:
        ValueError: the memory ran out.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        available, side = available_memory(settings.device), model.backbone.image_size
        words = "" if available is None else f" of the {available / GB:.2f} GB that are available here"
        raise ValueError(
            f"the memory of {settings.device.type} ran out in a training step of engine.batch_size="
            f"{settings.batch_size} images of data.image_size={side} px{words}: "
            f"{_proposal(model, settings, num_blocks, available)}"
        ) from error


def available_memory(device: torch.device) -> int | None:
    """Return the bytes of a CUDA device that no other process holds; None for other devices."""
    if device.type != "cuda":
        return None
    return torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)


def _proposal(model: Segmenter, settings: Settings, num_blocks: int | None, available: int | None) -> str:
    """Propose settings for a step that exceeded ``available`` bytes."""
    size: Any = model.backbone.image_size
    model = copy_without_weights(model)
    for module in (model, *encoder_blocks(model)):
        module.__dict__.pop("forward", None)  # as accelerate and ``recompute_blocks`` have changed it

    def memory_of(batch_size: int) -> StepMemory:
        is_half = settings.bf16 or settings.fp16
        return step_memory(model, batch_size=batch_size, device=settings.device, bf16=is_half)

    try:
        memory = memory_of(settings.batch_size)
    except ValueError:
        return "lower engine.batch_size or data.image_size, or set engine.activation_checkpointing=true"
    num_all = len(memory.blocks)
    count = num_all if num_blocks is None else num_blocks
    peak, least_peak = memory.peak(count), memory.peak(num_all)
    limit = int(USABLE * min(peak, peak if available is None else available))
    more = next((more for more in range(count + 1, num_all + 1) if memory.peak(more) <= limit), None)
    if more is not None:
        return (
            f"it takes about {peak / GB:.2f} GB. Continue with resume=true engine.memory_gb={_gb(memory.peak(more))}, "
            f"which recomputes {more} of {num_all} blocks, or start again with a lower engine.batch_size or "
            "data.image_size"
        )
    text = f"it takes about {peak / GB:.2f} GB, or {least_peak / GB:.2f} GB with all blocks recomputed. Start again"
    text += " with" if settings.activation_checkpointing else f" with engine.memory_gb={_gb(limit)}"
    if batch_size := next((one for one in _halves(settings.batch_size) if memory_of(one).peak(num_all) <= limit), None):
        accumulate = settings.accumulate * math.ceil(settings.batch_size / batch_size)
        return f"{text} engine.batch_size={batch_size} engine.accumulate={accumulate}, or with a lower data.image_size"
    single = memory_of(1).peak(num_all)
    share = (limit - memory.fixed) / (single - memory.fixed)  # of the activations, which follow the area
    side = int(size * math.sqrt(max(share, 0)) / SIDE) * SIDE
    return f"{text} engine.batch_size=1 {f'data.image_size={side} or lower' if side else 'and a smaller model'}"


def _gb(num_bytes: int) -> float:
    """Return gigabytes, rounded up to what a command line takes."""
    return math.ceil(100 * num_bytes / GB) / 100


def _halves(size: int) -> Iterator[int]:
    while size := size // 2:
        yield size


def step_memory(
    model: Segmenter, *, batch_size: int, device: torch.device, bf16: bool, counter: FlopCounterMode | None = None
) -> StepMemory:
    """Estimate the memory of a forward pass, backward pass and optimiser step on fake tensors.

    Args:
        model: model before ``recompute_blocks``.
        batch_size: images in the forward pass.
        device: device to train on.
        bf16: whether it trains under bf16 autocast, or fp16, which takes the same memory.
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
