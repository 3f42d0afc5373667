"""The image encoder's tokens by pieces: what a layer makes of one is still in a CPU's caches for the next layer."""

from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ipsam.model.backbone import SAM2Backbone

TOKENS = 2048  # a piece: enough for matrix products to run at their full rate


def work_in_pieces(backbone: SAM2Backbone) -> None:
    """Have the MLPs and the windowed attention take ``TOKENS`` tokens at a time, in place, for inference on a CPU.

    No window and no token depends on another there, so that in fp32 the result stays the same to the bit, or to
    rounding where the matrix products of a piece are summed in another order. Otherwise each layer would fill tens of
    megabytes, fetched from the system anew.
    """
    for block in backbone.encoder_blocks():
        mlp: Any = block.mlp
        mlp.forward = MethodType(_rows_in_pieces, mlp)
        if block.window_size:
            attention: Any = block.attn
            attention.forward = MethodType(_windows_in_pieces, attention)


def _windows_in_pieces(attention: Any, windows: Float[Tensor, "n h w c"]) -> Float[Tensor, "n _ _ _"]:
    return _in_pieces(attention, windows, windows[0, ..., 0].numel())


def _rows_in_pieces(mlp: Any, tokens: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
    return _in_pieces(mlp, tokens.flatten(0, 1), tokens.shape[2]).view(tokens.shape)


def _in_pieces(layer: Any, parts: Tensor, num_tokens: int) -> Tensor:
    """The layer's output for so many parts at a time, each of ``num_tokens``, as make up a piece.

    A compiler, or an export for other programs, sees it whole.
    """
    forward, size = type(layer).forward, max(1, TOKENS // num_tokens)
    if torch.compiler.is_compiling() or len(parts) <= size:
        whole: Tensor = forward(layer, parts)
        return whole
    return torch.cat([forward(layer, piece) for piece in torch.split(parts, size)])
