"""Preparation of a trained model for inference: the same predictions in less time."""

from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.backbones.sam2 import SAM2Backbone
from ipsam.model.ipsam import IPSAM
from ipsam.model.lora import merge_lora
from ipsam.model.segmenter import Segmenter

CAST_BY_AUTOCAST = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
CHUNK = 2048  # tokens; enough for matrix products to run at their full rate


def prepare_for_inference(model: Segmenter, *, bf16: bool) -> None:
    """Prepare a model for inference, in place, on the device where it will predict.

    LoRA is merged into the weights, position encodings are computed once, and convolution weights are stored
    channels-last. On a CPU the image encoder works on chunks of tokens. With ``bf16`` the weights that autocast would
    cast for every image are cast once, to the same bits; call the model under autocast as before. Predictions change
    by rounding only. The model cannot be trained afterwards.

    Args:
        model: in evaluation mode; its parameters stop requiring gradients.
        bf16: whether it will predict under bf16 autocast.
    """
    model.requires_grad_(False)
    merge_lora(model)
    if (weights := next(model.parameters(), None)) is None:  # another program computes it
        return
    device = weights.device
    if isinstance(model, IPSAM):  # which reads them
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):  # as in the model's own forward
            model.backbone.keep_constants()
    if isinstance(model.backbone, SAM2Backbone) and device.type == "cpu":
        chunk_tokens(model.backbone)
    model.to(memory_format=torch.channels_last)
    if bf16:
        _cast(model)


def _cast(module: nn.Module) -> None:
    if getattr(module, "keeps_fp32", False):  # such as a detector, which computes in fp32 under autocast too
        return
    if isinstance(module, CAST_BY_AUTOCAST):
        module.to(torch.bfloat16)
    for child in module.children():
        _cast(child)


def chunk_tokens(backbone: SAM2Backbone) -> None:
    """Make the MLPs and the windowed attention work on ``CHUNK`` tokens at a time, in place.

    A chunk's activations stay in a CPU's caches from layer to layer; those of all tokens are tens of megabytes. No
    window and no token depends on another there, so in fp32 results are equal up to the order of summation.
    """
    for block in backbone.encoder_blocks():
        mlp: Any = block.mlp
        mlp.forward = MethodType(_mlp_in_chunks, mlp)
        if block.window_size:
            attention: Any = block.attn
            attention.forward = MethodType(_attention_in_chunks, attention)


def _attention_in_chunks(attention: Any, windows: Float[Tensor, "n h w c"]) -> Float[Tensor, "n _ _ _"]:
    return _in_chunks(attention, windows, tokens_a_row=windows[0, ..., 0].numel())


def _mlp_in_chunks(mlp: Any, tokens: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
    return _in_chunks(mlp, tokens.flatten(0, 1), tokens_a_row=tokens.shape[2]).view(tokens.shape)


def _in_chunks(layer: Any, rows: Tensor, *, tokens_a_row: int) -> Tensor:
    forward, size = type(layer).forward, max(1, CHUNK // tokens_a_row)
    if torch.compiler.is_compiling() or len(rows) <= size:  # compilers and exporters get the whole layer
        whole: Tensor = forward(layer, rows)
        return whole
    return torch.cat([forward(layer, chunk) for chunk in torch.split(rows, size)])
