"""What is prepared for inference predicts the same."""

from copy import deepcopy

import pytest
import torch
from support.builders import micro_model, randomise
from torch import Tensor, nn

from ipsam.model import IPSAM, IPSAMOutput, LoRA, Segmenter, inference
from ipsam.model.inference import CAST_BY_AUTOCAST, prepare_for_inference


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
@pytest.mark.parametrize("tokens", [32, 2048])
def test_the_same_prediction(model: IPSAM, monkeypatch: pytest.MonkeyPatch, tokens: int, bf16: bool) -> None:
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
        if bf16:  # both err by the same rounding
            assert (one - true).abs().max() < 1.5 * (other - true).abs().max() + 1e-3 * scale
        else:
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * float(scale))
    assert not predicted(model, image + 0.1, bf16=bf16).logits.equal(plain.logits)


def test_weights_are_cast_as_autocast_would_cast_them() -> None:
    """Without LoRA to merge and the layout to change, to the bit."""
    model = micro_model().eval()
    image = torch.randn(2, 3, 64, 64)
    plain = predicted(model, image, bf16=True)
    for module in model.modules():
        if isinstance(module, CAST_BY_AUTOCAST):
            module.to(torch.bfloat16)
    assert torch.equal(predicted(model, image, bf16=True).logits, plain.logits)


def test_what_it_leaves(model: IPSAM) -> None:
    keys = len(list(model.parameters()))
    prepare_for_inference(model, bf16=True)
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert len(list(model.parameters())) < keys
    assert not any(parameter.requires_grad for parameter in model.parameters())
    kinds = {type(module): parameter.dtype for module in model.modules() for parameter in module.parameters(False)}
    assert {kinds[kind] for kind in CAST_BY_AUTOCAST} == {torch.bfloat16}
    assert kinds[nn.LayerNorm] == torch.float32
    blocks = model.backbone.encoder_blocks()
    assert all("forward" in vars(block.mlp) for block in blocks)  # by pieces
    prepare_for_inference(model, bf16=True)  # nothing is left to do
