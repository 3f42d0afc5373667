"""A model prepared for inference predicts the same."""

from collections import Counter
from copy import deepcopy

import pytest
import torch
from support.builders import micro_backbone, micro_model, randomise
from torch import Tensor, nn

from ipsam.model import IPSAM, IPSAMOutput, LoRA, Segmenter, inference
from ipsam.model.inference import CAST_BY_AUTOCAST, chunk_tokens, prepare_for_inference


@torch.inference_mode()
def predicted(model: Segmenter, image: Tensor, *, bf16: bool) -> IPSAMOutput:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        output: IPSAMOutput = model(image)
    return output


@pytest.fixture
def model() -> IPSAM:
    model = micro_model(lora=LoRA(rank=4))
    for part in (model.self_prompt, model.gating, model.decoder, model.refine):
        assert part is not None
        randomise(part)
    for module in model.modules():
        if hasattr(module, "lora_B"):
            randomise(module.lora_B)
    return model.eval()


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("tokens", [1, 32, 100, 2048])
def test_prepared_model_predicts_the_same(
    model: IPSAM, monkeypatch: pytest.MonkeyPatch, tokens: int, bf16: bool
) -> None:
    monkeypatch.setattr(inference, "CHUNK", tokens)
    image = torch.randn(2, 3, 64, 64)
    plain = predicted(model, image, bf16=bf16)
    fast = deepcopy(model)
    prepare_for_inference(fast, bf16=bf16)
    prepared = predicted(fast, image, bf16=bf16)
    exact = predicted(model, image, bf16=False)
    for name in ("coarse", "refined", "fg_logits", "bg_logits", "gate"):
        one, other, true = (getattr(output, name).float() for output in (prepared, plain, exact))
        scale = true.abs().max()
        if bf16:  # both round, each in its own way
            assert (one - true).abs().max() < 1.5 * (other - true).abs().max() + 1e-3 * scale
        else:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(scale))
    assert not predicted(model, image + 0.1, bf16=bf16).logits.equal(plain.logits)


def test_prepared_model_has_no_lora_and_no_gradients(model: IPSAM) -> None:
    keys = len(list(model.parameters()))
    prepare_for_inference(model, bf16=True)
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert len(list(model.parameters())) < keys
    assert not any(parameter.requires_grad for parameter in model.parameters())
    kinds = {type(module): parameter.dtype for module in model.modules() for parameter in module.parameters(False)}
    assert {kinds[kind] for kind in CAST_BY_AUTOCAST} == {torch.bfloat16}
    assert kinds[nn.LayerNorm] == torch.float32
    blocks = model.backbone.encoder_blocks()
    assert all("forward" in vars(block.mlp) for block in blocks)  # in chunks
    prepare_for_inference(model, bf16=True)  # may be called again


@torch.inference_mode()
def test_layers_work_on_a_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "CHUNK", 64)
    backbone = micro_backbone().eval()
    chunk_tokens(backbone)
    num_tokens: Counter[int] = Counter()
    first, windowless = backbone.encoder_blocks()[0], backbone.encoder_blocks()[3]
    for layer in (first.attn.qkv, first.mlp.layers[0]):  # 16 x 16 tokens in windows of 8 x 8
        layer.register_forward_pre_hook(lambda _, inputs: num_tokens.update([inputs[0][..., 0].numel()]))
    backbone(torch.randn(1, 3, 64, 64))
    assert num_tokens == {64: 8}
    assert not windowless.window_size
    assert "forward" not in vars(windowless.attn)  # each of its tokens attends to all others
