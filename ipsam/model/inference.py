"""A model made ready to predict: what training needs, and what never changes, is done once."""

import torch
from torch import nn

from ipsam.model.backbone import SAM2Backbone
from ipsam.model.chunked import work_in_pieces
from ipsam.model.lora import merge_lora
from ipsam.model.segmenter import Segmenter

CAST_BY_AUTOCAST = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def prepare_for_inference(model: Segmenter, *, bf16: bool) -> None:
    """Change a model in place, on the device where it will predict, so that it predicts the same in less time.

    LoRA is merged into the weights it adapts, position encodings are computed, and the weights of convolutions laid out
    as their inputs are: the channels last. On a CPU the image encoder takes its tokens by pieces. With ``bf16`` the
    weights that autocast would cast for every image are cast once, to the same bits; call the model under autocast as
    before. All this changes predictions by rounding alone. The model can't be trained afterwards.

    Args:
        model: in evaluation mode; its parameters lose their gradients.
        bf16: whether it will predict under autocast in bf16.
    """
    model.requires_grad_(False)
    merge_lora(model)
    device = next(model.parameters()).device
    if isinstance(model.backbone, SAM2Backbone):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):  # as in the model's own forward
            model.backbone.keep_constants()
        if device.type == "cpu":
            work_in_pieces(model.backbone)
    model.to(memory_format=torch.channels_last)
    if bf16:
        _cast(model)


def _cast(module: nn.Module) -> None:
    """But for parts that compute in fp32 whatever is around them, and say so by ``keeps_fp32``."""
    if getattr(module, "keeps_fp32", False):
        return
    if isinstance(module, CAST_BY_AUTOCAST):
        module.to(torch.bfloat16)
    for child in module.children():
        _cast(child)
