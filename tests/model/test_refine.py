"""Pixel refinement head."""

import torch
from support.builders import DIM, randomise

from ipsam.model import RefinementHead


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(2, 1, 16, 20), torch.randn(2, DIM, 4, 5), torch.randn(2, DIM, 4, 5)


def test_untrained_refinement_returns_the_coarse_mask() -> None:
    coarse, dense, features = inputs()
    assert torch.equal(RefinementHead(DIM, bottleneck=16)(coarse, dense, features), coarse)


def test_result_is_coarse_plus_a_residual_of_all_inputs() -> None:
    head = RefinementHead(DIM, bottleneck=16)
    randomise(head)
    coarse, dense, features = inputs()
    refined = head(coarse, dense, features)
    fused = head.bottleneck(torch.cat([head.image_proj(features), head.dense_proj(dense)], dim=1))
    torch.testing.assert_close(refined, coarse + head.residual(torch.cat([fused, coarse], dim=1)))
    for changed in ((coarse, -dense, features), (coarse, dense, -features), (-coarse, dense, features)):
        assert not torch.allclose(head(*changed) - changed[0], refined - coarse, atol=1e-3)
