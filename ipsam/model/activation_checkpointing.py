"""Activation checkpointing: blocks of the image encoder whose inside is computed again in the backward pass."""

from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ipsam.model.segmenter import Segmenter


def encoder_blocks(model: Segmenter) -> list[nn.Module]:
    """The image encoder's blocks, in their order."""
    backbone: Any = model.backbone
    return list(backbone.encoder_blocks())


def recompute_blocks(model: Segmenter, num_blocks: int | None = None) -> None:
    """Have the first blocks keep their input alone for the backward pass, in place; gradients stay the same to the bit.

    The first ones hold most for the least work to compute it again, as their grids are the finest.

    Args:
        model: whose encoder it is.
        num_blocks: how many; None for all.
    """
    for block in encoder_blocks(model)[:num_blocks]:
        block.forward = MethodType(_forward, block)  # which a copy of the model binds to its own block


def _forward(block: nn.Module, *inputs: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return type(block).forward(block, *inputs, **options)
    return checkpoint(type(block).forward, block, *inputs, use_reentrant=False, **options)
