"""Tokens by pieces are the tokens at once."""

from collections import Counter
from copy import deepcopy

import pytest
import torch
from support.builders import micro_backbone
from torch import nn

from ipsam.model import inference
from ipsam.model.inference import chunk_tokens


@pytest.mark.parametrize("tokens", [1, 16, 48, 100, 2048])
@pytest.mark.parametrize("batch", [1, 3])
@torch.inference_mode()
def test_pieces_are_the_whole(monkeypatch: pytest.MonkeyPatch, tokens: int, batch: int) -> None:
    backbone = micro_backbone().eval()
    image = torch.randn(batch, 3, 64, 64)
    whole = backbone(image)
    monkeypatch.setattr(inference, "CHUNK", tokens)
    divided = deepcopy(backbone)
    chunk_tokens(divided)
    for one, other in zip(divided(image), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(other.abs().max()))


@torch.inference_mode()
def test_each_layer_sees_one_piece_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "CHUNK", 64)
    backbone = micro_backbone().eval()
    chunk_tokens(backbone)
    seen: Counter[int] = Counter()
    first, windowless = backbone.encoder_blocks()[0], backbone.encoder_blocks()[3]
    for layer in (first.attn.qkv, first.mlp.layers[0]):  # of 16 x 16 tokens in windows of 8 x 8

        def count(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen[inputs[0][..., 0].numel()] += 1

        layer.register_forward_pre_hook(count)
    backbone(torch.randn(1, 3, 64, 64))
    assert seen == {64: 8}
    assert not windowless.window_size
    assert "forward" not in vars(windowless.attn)  # each of its tokens looks at all others
