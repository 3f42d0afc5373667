"""The operators of Table 3, part II, in PSG's place."""

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
OPERATORS = RESIDUAL | {"purified_anchor": lambda: PurifiedAnchorGating(DIM, hidden=16)}
operators = pytest.mark.parametrize("operator", OPERATORS)
residual = pytest.mark.parametrize("operator", RESIDUAL)


def embeddings() -> tuple[Tensor, Tensor]:
    return torch.randn(2, DIM, 4, 5), torch.randn(2, DIM, 4, 5)


def randomised(operator: str) -> nn.Module:
    module = OPERATORS[operator]()
    randomise(module)
    return module


@operators
def test_shapes_and_gate(operator: str) -> None:
    foreground, background = embeddings()
    dense, gate = randomised(operator)(foreground, background)
    assert dense.shape == foreground.shape
    if operator in ("psg", "purified_anchor"):
        assert gate.shape == (2, 1, 4, 5)
    else:
        assert gate is None


@operators
def test_both_embeddings_matter(operator: str) -> None:
    module = randomised(operator)
    foreground, background = embeddings()
    dense = module(foreground, background)[0]
    assert not torch.allclose(module(-foreground, background)[0], dense, atol=1e-3)
    assert not torch.allclose(module(foreground, -background)[0], dense, atol=1e-3)


@residual
def test_untrained_operator_returns_the_foreground_prompt(operator: str) -> None:
    foreground, background = embeddings()
    assert torch.equal(RESIDUAL[operator]()(foreground, background)[0], foreground)


@residual
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
    assert len(without.auxiliary) == (3 if training else 0)


def test_untrained_purified_anchor_returns_the_purified_prompt() -> None:
    foreground, background = embeddings()
    dense, gate = PurifiedAnchorGating(DIM, hidden=16)(foreground, background)
    assert torch.equal(dense, foreground * (1 - gate))


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
