"""Prompt-Space Gating (equation 2)."""

import torch
import torch.nn.functional as F
from support.builders import DIM, randomise
from torch import Tensor

from ipsam.model import PromptSpaceGating


def embeddings() -> tuple[Tensor, Tensor]:
    return torch.randn(2, DIM, 4, 5), torch.randn(2, DIM, 4, 5)


def test_untrained_gating_returns_the_foreground_prompt() -> None:
    foreground, background = embeddings()
    result, gate = PromptSpaceGating(DIM, hidden=16)(foreground, background)
    assert torch.equal(result, foreground)
    assert gate.shape == (2, 1, 4, 5)


def test_equation_2() -> None:
    gating = PromptSpaceGating(DIM, hidden=16)
    randomise(gating)
    weights = gating.state_dict()
    foreground, background = embeddings()

    def conv(name: str, x: Tensor) -> Tensor:
        weight = weights[f"{name}.weight"]
        return F.conv2d(x, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2)

    gate = torch.sigmoid(conv("predictor.2", F.gelu(conv("predictor.0", background))))
    fused = conv("fuse.0.0", torch.cat([foreground * (1 - gate), foreground], dim=1))
    fused = F.layer_norm(fused.movedim(1, -1), (DIM,), weights["fuse.0.1.weight"], weights["fuse.0.1.bias"], eps=1e-6)
    expected = foreground + conv("out", conv("fuse.1", F.gelu(fused.movedim(-1, 1))))

    result, found_gate = gating(foreground, background)
    torch.testing.assert_close(found_gate, gate)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(result, foreground, atol=0.1)


def test_background_acts_through_the_gate_alone() -> None:
    """With a constant gate predictor nothing depends on the background prompt."""
    gating = PromptSpaceGating(DIM, hidden=16)
    randomise(gating)
    torch.nn.init.zeros_(gating.predictor[2].weight)
    foreground, background = embeddings()
    assert torch.equal(gating(foreground, background)[0], gating(foreground, -background)[0])
