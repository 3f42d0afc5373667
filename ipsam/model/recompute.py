"""Activation checkpointing: blocks of the image encoder whose inside is computed again in the backward pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ipsam.model.segmenter import Segmenter


def encoder_blocks(model: Segmenter) -> list[nn.Module]:
    """The image encoder's blocks in their order: of the backbone's lists of modules, the one with most parameters."""
    lists = [list(part) for part in model.backbone.modules() if isinstance(part, nn.ModuleList)]
    return max(lists, key=lambda blocks: sum(weight.numel() for block in blocks for weight in block.parameters()))


def recompute_blocks(model: Segmenter, num_blocks: int | None = None) -> None:
    """Have the first blocks keep their input alone for the backward pass, in place; gradients stay the same to the bit.

    The first ones hold most for the least work to compute it again, as their grids are the finest.

    Args:
        model: whose encoder it is.
        num_blocks: how many; None for all.
    """
    for block in encoder_blocks(model)[:num_blocks]:
        block.forward = _recomputed(block.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*inputs: Any, **options: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs, **options)
        return checkpoint(forward, *inputs, use_reentrant=False, **options)

    return run
