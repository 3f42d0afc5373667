"""PSG (equation 2), and the operators of Table 3, part II, in its place."""

import pytest
import torch
import torch.nn.functional as F
from support.builders import DIM, micro_backbone, micro_parts, randomise
from torch import Tensor, nn

from ipsam.model import (
    IPSAM,
    ConcatenationFusion,
    CrossAttentionFusion,
    PromptSpaceGating,
    PurifiedAnchorGating,
    SubtractionFusion,
)

RESIDUAL = {
    "psg": lambda: PromptSpaceGating(DIM, hidden=16),
    "subtraction": lambda: SubtractionFusion(DIM),
    "concatenation": lambda: ConcatenationFusion(DIM),
    "cross_attention": lambda: CrossAttentionFusion(DIM, num_heads=4),
}
GATED = ("psg", "purified_anchor")
OPERATORS = RESIDUAL | {"purified_anchor": lambda: PurifiedAnchorGating(DIM, hidden=16)}


def embeddings() -> tuple[Tensor, Tensor]:
    return torch.randn(2, DIM, 4, 5), torch.randn(2, DIM, 4, 5)


def randomised(operator: str) -> nn.Module:
    module = OPERATORS[operator]()
    randomise(module)
    return module


@pytest.mark.parametrize("operator", OPERATORS)
def test_dense_prompt_depends_on_both_embeddings(operator: str) -> None:
    module = randomised(operator)
    foreground, background = embeddings()
    dense, gate = module(foreground, background)
    assert dense.shape == foreground.shape
    assert (None if gate is None else gate.shape) == ((2, 1, 4, 5) if operator in GATED else None)
    assert not torch.allclose(module(-foreground, background)[0], dense, atol=1e-3)
    assert not torch.allclose(module(foreground, -background)[0], dense, atol=1e-3)


@pytest.mark.parametrize("operator", RESIDUAL)
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_untrained_operator_changes_no_output(operator: str, training: bool) -> None:
    """To the bit."""
    model = IPSAM(micro_backbone(), **micro_parts(gating=RESIDUAL[operator]())).train(training)
    image = torch.randn(2, 3, 64, 64)
    with_operator = model(image)
    model.gating = None
    without = model(image)
    assert torch.equal(with_operator.coarse, without.coarse)
    assert torch.equal(with_operator.logits, without.logits)
    assert all(map(torch.equal, with_operator.auxiliary, without.auxiliary))


def test_purified_anchor_is_psg_minus_the_suppressed_prompt() -> None:
    anchored, psg = PurifiedAnchorGating(DIM, hidden=16), PromptSpaceGating(DIM, hidden=16)
    randomise(anchored)
    psg.load_state_dict(anchored.state_dict())
    foreground, background = embeddings()
    dense, gate = anchored(foreground, background)
    expected, same_gate = psg(foreground, background)
    assert torch.equal(gate, same_gate)
    torch.testing.assert_close(dense, expected - foreground * gate, rtol=1e-4, atol=1e-5)


def test_subtraction_equals_its_formula() -> None:
    module = randomised("subtraction")
    foreground, background = embeddings()
    conv, _ = module.fuse
    difference = F.conv2d(foreground - background, conv.weight, conv.bias, padding=1)
    expected = foreground + F.conv2d(F.gelu(difference), module.out.weight, module.out.bias)
    torch.testing.assert_close(module(foreground, background)[0], expected)


def test_concatenation_takes_the_foreground_first() -> None:
    module = randomised("concatenation")
    foreground, background = embeddings()
    weight = module.fuse.weight
    expected = F.conv2d(foreground, weight[:, :DIM], padding=1) + F.conv2d(background, weight[:, DIM:], padding=1)
    expected = foreground + expected + module.fuse.bias[:, None, None]
    torch.testing.assert_close(module(foreground, background)[0], expected, rtol=1e-4, atol=1e-4)


def test_cross_attention_is_torchs() -> None:
    module = randomised("cross_attention")
    reference = nn.MultiheadAttention(DIM, 4, bias=False, batch_first=True)
    weights = [getattr(module, name).weight[:, :, 0, 0] for name in ("query", "key", "value", "out")]
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat(weights[:3]))
        reference.out_proj.weight.copy_(weights[3])
    foreground, background = embeddings()
    queries, keys = (grid.flatten(2).transpose(1, 2) for grid in (foreground, background))
    attended = reference(queries, keys, keys, need_weights=False)[0]
    expected = foreground + attended.transpose(1, 2).reshape(foreground.shape)
    torch.testing.assert_close(module(foreground, background)[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("context", ["positive", "negative"])
@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
def test_equation_2(context: str, padding_mode: str) -> None:
    gating = PromptSpaceGating(DIM, hidden=16, context=context, padding_mode=padding_mode)
    randomise(gating)
    weights = gating.state_dict()
    foreground, background = embeddings()

    def conv(name: str, x: Tensor) -> Tensor:
        weight = weights[f"{name}.weight"]
        padding = weight.shape[-1] // 2
        padded = F.pad(x, [padding] * 4, mode="constant" if padding_mode == "zeros" else padding_mode)
        return F.conv2d(padded, weight, weights[f"{name}.bias"])

    gate = torch.sigmoid(conv("predictor.2", F.gelu(conv("predictor.0", background))))
    beside = foreground if context == "positive" else background
    fused = conv("fuse.0.0", torch.cat([foreground * (1 - gate), beside], dim=1))
    fused = F.layer_norm(fused.movedim(1, -1), (DIM,), weights["fuse.0.1.weight"], weights["fuse.0.1.bias"], eps=1e-6)
    expected = foreground + conv("out", conv("fuse.1", F.gelu(fused.movedim(-1, 1))))

    result, found_gate = gating(foreground, background)
    torch.testing.assert_close(found_gate, gate)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(result, foreground, atol=0.1)


@pytest.mark.parametrize("context", ["positive", "negative"])
def test_background_acts_through_the_gate_alone_by_default(context: str) -> None:
    """With a constant gate predictor nothing depends on the background prompt, unless it is the fusion's context."""
    gating = PromptSpaceGating(DIM, hidden=16, context=context)
    randomise(gating)
    torch.nn.init.zeros_(gating.predictor[2].weight)
    foreground, background = embeddings()
    is_equal = torch.equal(gating(foreground, background)[0], gating(foreground, -background)[0])
    assert is_equal == (context == "positive")
