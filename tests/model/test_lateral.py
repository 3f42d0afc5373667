"""Lateral inhibition."""

import pytest
import torch
import torch.nn.functional as F
from support.builders import DIM

from ipsam.model import LateralInhibition


def pyramid() -> list[torch.Tensor]:
    return [torch.randn(2, DIM, side, side, requires_grad=True) for side in (16, 8, 4)]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_levels_are_gated_by_the_resized_coarse_probability(alpha: float) -> None:
    fpn, coarse = pyramid(), torch.randn(2, 1, 16, 16)
    prob = 1 / (1 + torch.exp(-coarse))
    gated = LateralInhibition(DIM, hidden=16, alpha=alpha)(fpn, coarse)
    for level, result in zip(fpn, gated, strict=True):
        resized = F.interpolate(prob, size=level.shape[-2:], mode="bilinear", align_corners=False)
        torch.testing.assert_close(result, level * alpha + level * (1 - alpha) * resized)


def test_gradient_reaches_the_pyramid_but_not_the_coarse_mask() -> None:
    fpn, coarse = pyramid(), torch.randn(2, 1, 16, 16, requires_grad=True)
    lateral = LateralInhibition(DIM, hidden=16)
    torch.stack([logits.square().mean() for logits in lateral.auxiliary(lateral(fpn, coarse))]).sum().backward()
    assert coarse.grad is None
    assert all(level.grad is not None and level.grad.abs().sum() > 0 for level in fpn)
