"""Activation checkpointing: blocks of the image encoder recompute their activations in the backward pass."""

from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ipsam.model.segmenter import Segmenter


def encoder_blocks(model: Segmenter) -> list[nn.Module]:
    """Return the image encoder's blocks in order."""
    backbone: Any = model.backbone
    return list(backbone.encoder_blocks())


def recompute_blocks(model: Segmenter, num_blocks: int | None = None) -> None:
    """Checkpoint the first blocks of the image encoder, in place. Gradients stay equal to the bit.

    The first blocks save most memory for the least recomputation, as their grids are the finest.

    Args:
        model: the model to change.
        num_blocks: number of blocks; None for all.
    """
    for block in encoder_blocks(model)[:num_blocks]:
        block.forward = MethodType(_forward, block)  # deepcopy binds the method to the copied block


def _forward(block: nn.Module, *inputs: Any, **options: Any) -> Any:
    if not torch.is_grad_enabled():
        return type(block).forward(block, *inputs, **options)
    return checkpoint(type(block).forward, block, *inputs, use_reentrant=False, **options)
