"""SAM2's image encoder and prompt encoder, as IP-SAM wraps them."""

from pathlib import Path

import pytest
import torch
from support.builders import DIM, micro_backbone, micro_model

from ipsam.model import SAM2Backbone
from ipsam.model.backbones.sam2 import sam2_config
from ipsam.model.inference import prepare_for_inference


@pytest.mark.parametrize("size", [32, 64, 96])
def test_pyramid_and_prompt_shapes(size: int) -> None:
    backbone = micro_backbone(image_size=size)
    grid = size // 16
    levels = backbone(torch.randn(2, 3, size, size))
    assert [tuple(level.shape) for level in levels] == [(2, DIM, grid * scale, grid * scale) for scale in (4, 2, 1)]
    assert backbone.position().shape == (1, DIM, grid, grid)
    assert backbone.encode_dense(torch.randn(2, 1, 4 * grid, 4 * grid)).shape == (2, DIM, grid, grid)
    sparse, dense = backbone.null_prompts(2)
    assert sparse.shape == (2, 0, DIM)
    assert dense.shape == (2, DIM, grid, grid)


@pytest.mark.parametrize("num_levels", [1, 2, 3])
def test_pyramid_equals_sam2s(num_levels: int) -> None:
    """To the bit, although only the requested levels are computed."""
    backbone = micro_backbone()
    image = torch.randn(2, 3, 64, 64)
    expected = backbone.image_encoder(image)["backbone_fpn"]
    levels = backbone(image, num_levels=num_levels)
    assert len(expected) == 3
    assert len(levels) == num_levels
    assert all(torch.equal(*pair) for pair in zip(levels, expected[-num_levels:], strict=True))


def test_no_mem_embed_is_added_to_the_image_embedding_alone(micro_checkpoint: Path) -> None:
    """As by SAM2's image predictor; the rest stays equal to the bit."""
    image = torch.randn(2, 3, 64, 64)
    *finer, embedding = SAM2Backbone("micro", image_size=64, checkpoint=micro_checkpoint)(image)
    backbone = SAM2Backbone("micro", image_size=64, checkpoint=micro_checkpoint, no_mem_embed=True, fine_tune=True)
    *finer_with, embedding_with = backbone(image)
    stored = torch.load(micro_checkpoint, weights_only=True)["model"]["no_mem_embed"]
    assert stored.abs().max() == 1
    assert torch.equal(embedding_with, embedding + stored.view(1, -1, 1, 1))
    assert all(map(torch.equal, finer, finer_with))
    assert not backbone.no_mem_embed.requires_grad
    torch.manual_seed(3)
    plain = micro_backbone().state_dict()
    torch.manual_seed(3)
    added = SAM2Backbone("micro", image_size=64, no_mem_embed=True).state_dict()
    assert added.keys() - plain.keys() == {"no_mem_embed"}
    assert all(torch.equal(added[key], tensor) for key, tensor in plain.items())


def test_kept_constants_change_nothing() -> None:
    backbone = micro_backbone()
    image = torch.randn(2, 3, 64, 64)
    levels, position = backbone(image), backbone.position()
    backbone.keep_constants()
    assert backbone.position() is backbone.position()
    assert torch.equal(backbone.position(), position)
    assert all(torch.equal(*pair) for pair in zip(backbone(image), levels, strict=True))


@pytest.mark.parametrize("prepared", [False, True])
@torch.no_grad()
def test_resized_model_equals_one_built_at_that_size(prepared: bool) -> None:
    """To the bit, there and back."""
    model, large = micro_model(image_size=64).eval(), micro_model(image_size=96).eval()
    large.load_state_dict(model.state_dict())
    small_image, large_image = torch.randn(2, 3, 64, 64), torch.randn(2, 3, 96, 96)
    if prepared:
        for one in (model, large):
            prepare_for_inference(one, bf16=False)
    before, expected = model(small_image).logits, large(large_image).logits
    with torch.inference_mode():
        model.backbone.resize(96)
        assert torch.equal(model(large_image).logits, expected)
        assert all(map(torch.equal, model.backbone.null_prompts(1), large.backbone.null_prompts(1)))
        model.backbone.resize(64)
    assert torch.equal(model(small_image).logits, before)
    assert not model.backbone.position().is_inference()
    with pytest.raises(ValueError, match="multiple of 32 pixels, not 100"):
        model.backbone.resize(100)


def test_dense_prompts_are_raw_logits() -> None:
    backbone = micro_backbone()
    logits = 5 * torch.randn(2, 1, 16, 16)
    embedding = backbone.encode_dense(logits)
    assert torch.equal(embedding, backbone.prompt_encoder._embed_masks(logits))
    assert not torch.allclose(embedding, backbone.encode_dense(logits.sigmoid()), atol=1e-2)


def test_null_prompts_embed_a_zero_mask() -> None:
    backbone = micro_backbone()
    _, dense = backbone.null_prompts(2)
    assert torch.equal(dense, backbone.prompt_encoder._embed_masks(torch.zeros(2, 1, 16, 16)))
    assert not torch.allclose(dense[0, :, 0, 0], backbone.prompt_encoder.no_mask_embed.weight[0])


def test_point_types_are_sams() -> None:
    """SAM's own code adds embedding 1 to a positive click and embedding 0 to a negative one."""
    backbone = micro_backbone()
    at = torch.tensor([[[3.0, 5.0]]])
    tokens = {
        label: backbone.prompt_encoder((at, torch.tensor([[label]])), boxes=None, masks=None)[0][:, 0]
        for label in (0, 1)
    }
    difference = backbone.point_type(1) - backbone.point_type(0)
    torch.testing.assert_close(tokens[1] - tokens[0], difference)
    assert difference.abs().max() > 0.1


def test_prompt_encoder_is_frozen_by_default() -> None:
    def trainable(backbone: SAM2Backbone) -> set[str]:
        named = backbone.prompt_encoder.named_parameters()
        return {".".join(name.split(".")[:2]) for name, parameter in named if parameter.requires_grad}

    assert trainable(micro_backbone(fine_tune=True)) == set()
    unfrozen = SAM2Backbone("micro", image_size=64, train_prompt_encoder=True)
    mask_branch = {f"mask_downscaling.{layer}" for layer in (0, 1, 3, 4, 6)}
    assert trainable(unfrozen) == mask_branch | {"point_embeddings.0", "point_embeddings.1"}
    assert not any(parameter.requires_grad for parameter in unfrozen.image_encoder.parameters())


VARIANTS = {
    "large": (144, [2, 6, 36, 4], 256),
    "base_plus": (112, [2, 3, 16, 3], 256),
    "small": (96, [1, 2, 11, 2], 256),
    "tiny": (96, [1, 2, 7, 2], 256),
    "micro": (16, [1, 1, 2, 1], 64),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_have_sam2s_widths_and_stages(variant: str) -> None:
    config = sam2_config(variant, 128).image_encoder
    trunk = config.trunk
    found = (trunk.get("embed_dim", 96), list(trunk.get("stages", [2, 3, 16, 3])), config.neck.d_model)
    assert found == VARIANTS[variant]
    assert config.scalp == 1
