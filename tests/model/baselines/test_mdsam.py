"""MDSAM: adapters, levels, fusion, detail."""

import pytest
import torch

from ipsam.model.baselines import MDSAM, SAM
from ipsam.model.baselines.mdsam_parts import DetailEnhancement, MultiLevelFusion, MultiScaleAdapter


def model(size: int = 64) -> MDSAM:
    return MDSAM(SAM("micro", image_size=size))


def test_coarse_on_the_mask_grid_and_refined_at_the_inputs_size() -> None:
    output = model()(torch.randn(2, 3, 64, 64))
    assert output.coarse.shape == (2, 1, 16, 16)
    assert output.logits is output.refined
    assert output.logits.shape == (2, 1, 64, 64)


def test_levels_equal_the_vits_if_the_adapters_are_zero() -> None:
    mdsam = model().eval()
    original = SAM("micro", image_size=64).eval()
    state = {f"encoder.{key}": tensor for key, tensor in original.model.vision_encoder.state_dict().items()}
    for neck in mdsam.necks:
        neck.load_state_dict(original.model.vision_encoder.neck.state_dict())
    mdsam.backbone.model.vision_encoder.load_state_dict(
        {key.removeprefix("encoder."): tensor for key, tensor in state.items() if ".neck." not in key}
    )
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(mdsam.levels(image)[-1], original.encode(image).embedding)
        for adapter in mdsam.adapters:
            torch.nn.init.zeros_(adapter.up.weight)
            torch.nn.init.zeros_(adapter.up.bias)
        assert torch.equal(mdsam.levels(image)[-1], original.encode(image).embedding)
        assert len(mdsam.levels(image)) == 4


def test_necks_start_as_separate_copies_of_the_pretrained_one() -> None:
    necks = model().necks
    first, *others = (neck.conv1.weight for neck in necks)
    assert all(torch.equal(first, other) for other in others)
    assert len({weight.data_ptr() for weight in (first, *others)}) == 4


@pytest.mark.parametrize("grid", [(4, 4), (14, 10)])
def test_the_adapter_takes_any_grid(grid: tuple[int, int]) -> None:
    tokens = torch.randn(2, *grid, 48)
    assert MultiScaleAdapter(48, hidden=16)(tokens).shape == tokens.shape


def test_fusion_weighs_each_level_by_one_to_two() -> None:
    levels = [torch.ones(2, 8, 4, 4) for _ in range(4)]
    fused = MultiLevelFusion(8)(levels)
    assert fused.shape == (2, 8, 4, 4)
    assert 4 < fused.min() <= fused.max() < 8


def test_own_gates_read_their_own_level() -> None:
    levels = [torch.randn(2, 8, 4, 4) for _ in range(4)]
    fusion = MultiLevelFusion(8, own_gates=True).eval()
    gates = [gate(level).mean((2, 3), keepdim=True).sigmoid() for gate, level in zip(fusion.gates, levels, strict=True)]
    torch.testing.assert_close(
        fusion(levels), sum(level * (1 + gate) for level, gate in zip(levels, gates, strict=True))
    )
    assert sum(parameter.numel() for parameter in fusion.parameters()) == 4 * (8 * 8 + 2 * 8)


@torch.no_grad()
def test_static_filter_is_the_same_for_all_images() -> None:
    embedding, position = torch.randn(2, 32, 4, 4), torch.randn(1, 32, 4, 4)
    for static in (False, True):
        decoder = MDSAM(SAM("micro", image_size=64), static_filter=static).decoder
        filtered = decoder.hypernetwork(decoder.mask_token.weight[0])
        mask, features = decoder(embedding, position)
        expected = torch.einsum("c,bchw->bhw", filtered, features)[:, None]
        assert torch.allclose(mask, expected) == static


def test_detail_meets_the_image() -> None:
    detail = DetailEnhancement(4, image_dim=8).eval()
    features, deep = torch.randn(2, 1, 4, 16, 16)
    with torch.no_grad():
        one, other = (detail(torch.randn(1, 3, 64, 64), features, deep) for _ in range(2))
    assert one.shape == (1, 1, 64, 64)
    assert not torch.allclose(one, other)
