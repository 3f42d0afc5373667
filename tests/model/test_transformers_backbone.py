"""SAM, SAM2, SAM3 and EdgeTAM of transformers behind the contract of a backbone."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.builders import DIM, micro_backbone, micro_parts, randomise
from support.sam2_names import by_transformers_names
from torch import nn

from ipsam.model import IPSAM, LoRA, MaskDecoder, SAM2Backbone, TransformersBackbone
from ipsam.model.activation_checkpointing import recompute_blocks
from ipsam.model.backbones.families import FAMILIES
from ipsam.model.backbones.transformers import build_model
from ipsam.utils.weights import key_difference, sha256_of

SIZE = 64


def micro(family: str, **arguments: Any) -> TransformersBackbone:
    return TransformersBackbone(family, "micro", **{"image_size": SIZE, **arguments})


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [64, 96])
def test_pyramid_and_prompt_shapes(family: str, size: int) -> None:
    backbone = micro(family, image_size=size)
    grid = size // 16
    image = torch.randn(2, 3, size, size)
    levels = backbone(image, num_levels=backbone.num_levels)
    scales = (1,) if family == "sam" else (4, 2, 1)
    assert [tuple(level.shape) for level in levels] == [(2, DIM, grid * scale, grid * scale) for scale in scales]
    assert torch.equal(backbone(image, num_levels=1)[0], levels[-1])
    assert backbone.position().shape == (1, DIM, grid, grid)
    assert backbone.encode_dense(torch.randn(2, 1, 4 * grid, 4 * grid)).shape == (2, DIM, grid, grid)
    sparse, dense = backbone.null_prompts(2)
    assert (sparse.shape, dense.shape) == ((2, 0, DIM), (2, DIM, grid, grid))
    assert torch.equal(dense, backbone.encode_dense(torch.zeros(2, 1, 4 * grid, 4 * grid)))
    assert backbone.point_type(1).shape == (1, DIM)
    assert not torch.equal(backbone.point_type(1), backbone.point_type(0))


@torch.no_grad()
@pytest.mark.parametrize("size", [64, 128])
def test_sam2_equals_the_sam2_package(size: int, tmp_path: Path) -> None:
    """Random weights, converted: image embedding, pyramid, position and prompt embeddings."""
    theirs = micro_backbone(image_size=size).eval()
    randomise(theirs)
    save_file(by_transformers_names(theirs), tmp_path / "model.safetensors")
    ours = micro("sam2", image_size=size, checkpoint=tmp_path).eval()
    image, logits = torch.randn(2, 3, size, size), 5 * torch.randn(2, 1, size // 4, size // 4)
    pairs = [*zip(ours(image), theirs(image), strict=True), (ours.position(), theirs.position())]
    pairs += [(ours.encode_dense(logits), theirs.encode_dense(logits))]
    pairs += zip(ours.null_prompts(2), theirs.null_prompts(2), strict=True)
    pairs += [(ours.point_type(label), theirs.point_type(label)) for label in (0, 1)]
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert ours(image)[-1].abs().max() > 0.1


@pytest.mark.parametrize(
    "variant", ["tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in ("small", "base_plus", "large"))]
)
def test_sam2s_variants_have_its_tensors_and_blocks(variant: str) -> None:
    theirs = SAM2Backbone(variant, image_size=64)
    with torch.device("meta"):
        model = build_model(FAMILIES["sam2"], variant, 64)
    parts = ("vision_encoder.", "prompt_encoder.")
    found = {key: tensor for key, tensor in model.state_dict().items() if key.startswith(parts)}
    assert key_difference(by_transformers_names(theirs), found) == ""
    for ours, block in zip(model.vision_encoder.backbone.blocks, theirs.encoder_blocks(), strict=True):
        assert ours.window_size == block.window_size
        assert ours.attn.num_attention_heads == block.attn.num_heads


@pytest.mark.parametrize("family", FAMILIES)
def test_published_folder_is_loaded_to_the_bit(family: str, tmp_path: Path) -> None:
    """As transformers itself writes it; ``base_sha256`` ties checkpoints to it."""
    model = build_model(FAMILIES[family], "micro", SIZE)
    randomise(model)
    model.save_pretrained(tmp_path)
    loaded = micro(family, checkpoint=tmp_path)
    for part, expected in ((loaded.image_encoder, model.vision_encoder), (loaded.prompt_encoder, model.prompt_encoder)):
        state = expected.state_dict()
        assert part.state_dict().keys() == state.keys()
        assert all(torch.equal(tensor, state[key]) for key, tensor in part.state_dict().items())
    assert loaded.base_sha256 == sha256_of(tmp_path / "model.safetensors")
    assert micro(family).base_sha256 is None


PROJECTIONS = {
    "sam2": ("blocks.{}.attn.qkv", "blocks.{}.attn.proj"),
    "sam3": ("layers.{}.attention.[qkv]_proj", "layers.{}.attention.o_proj"),
    "sam": ("layers.{}.attn.qkv", "layers.{}.attn.proj"),
}


@pytest.mark.parametrize("family", PROJECTIONS)
@pytest.mark.parametrize(
    ("choice", "blocks"),
    [({}, None), ({"stages": (1,)}, {"sam2": [0], "sam3": [0, 1], "sam": [0, 1]}), ({"projections": ["proj"]}, None)],
)
def test_lora_adapts_exactly_the_chosen_projections(family: str, choice: Any, blocks: Any) -> None:
    """Updates start at zero; a stage of a plain ViT ends with a block of global attention."""
    torch.manual_seed(1)
    plain = micro(family).eval()
    torch.manual_seed(1)
    backbone = micro(family, lora=LoRA(rank=2, **choice)).eval()
    image = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        assert torch.equal(backbone(image, num_levels=1)[0], plain(image, num_levels=1)[0])
    chosen = range(len(backbone.encoder_blocks())) if blocks is None else blocks[family]
    patterns = PROJECTIONS[family][1:] if "projections" in choice else PROJECTIONS[family]
    pattern = "|".join(rf"(?:backbone\.)?{one.format(index)}" for one in patterns for index in chosen)
    pattern = rf"image_encoder\.(?:{pattern})\.lora_[AB]\.default\.weight"
    trainable = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trainable
    assert trainable == {name for name, _ in backbone.named_parameters() if re.fullmatch(pattern, name)}
    layers = {"sam2": 1, "sam3": 3, "sam": 1}[family] * ("projections" not in choice) + 1
    assert len(trainable) == 2 * layers * len(chosen)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapt", ["lora", "fine_tune"])
@pytest.mark.parametrize("lateral", [True, False])
def test_every_trainable_parameter_gets_a_gradient(family: str, adapt: str, lateral: bool) -> None:
    """Activation checkpointing changes none; the prompt encoder stays frozen."""
    if family == "edgetam" and adapt == "lora":
        return
    backbone = micro(family, **({"lora": LoRA(rank=2)} if adapt == "lora" else {"fine_tune": True}))
    parts: Any = micro_parts() if lateral else micro_parts(lateral=None)
    model = IPSAM(backbone, **parts)
    for name, parameter in model.named_parameters():
        if "lora_B" in name or name.startswith(("gating.", "refine.")):
            nn.init.normal_(parameter, std=0.1)
    gradients = []
    for _ in range(2):
        model.zero_grad()
        output = model(torch.ones(2, 3, SIZE, SIZE))
        outputs = [output.coarse, output.refined, output.fg_logits, output.bg_logits, *output.auxiliary]
        torch.stack([logits.square().mean() for logits in outputs]).sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
        recompute_blocks(model)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert not (name.startswith("backbone.prompt_encoder.") and parameter.requires_grad)
        if parameter.requires_grad:
            assert torch.equal(gradients[0][name], gradients[1][name]), name
    assert any(
        name.startswith("backbone.image_encoder.") for name, gradient in gradients[0].items() if gradient is not None
    )


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_resized_backbone_equals_one_built_at_that_size(family: str) -> None:
    """Also once constants are kept; SAM's position embeddings are parameters of one size."""
    backbone, image = micro(family).eval(), torch.randn(1, 3, 96, 96)
    if family == "sam":
        with pytest.raises(ValueError, match="SAM takes images of 64 pixels alone once it is built, not 96"):
            backbone.resize(96)
        return
    other = micro(family, image_size=96).eval()
    other.load_state_dict(backbone.state_dict())
    backbone.keep_constants()
    with pytest.raises(ValueError, match=r"image_size must be a positive multiple of .* pixels, not 90"):
        backbone.resize(90)
    backbone.resize(96)
    assert all(map(torch.equal, backbone(image), other(image)))
    assert torch.equal(backbone.position(), other.position())
    assert all(map(torch.equal, backbone.null_prompts(1), other.null_prompts(1)))


def test_frozen_batch_normalisation_keeps_its_statistics() -> None:
    backbone = micro("edgetam")
    norm = nn.BatchNorm2d(3)
    backbone.image_encoder.norm = norm
    for trains in (True, False):
        norm.requires_grad_(trains)
        assert backbone.train().image_encoder.norm.training == trains
        assert backbone.image_encoder.training


def test_sams_embedding_alone_does_for_lateral_inhibition() -> None:
    """Finer levels there are none: the decoder's skips are refused."""
    parts: Any = micro_parts()
    output = IPSAM(micro("sam"), **parts).train()(torch.randn(2, 3, SIZE, SIZE))
    assert [tuple(logits.shape) for logits in output.auxiliary] == [(2, 1, 4, 4)]
    parts["decoder"] = MaskDecoder(DIM, num_heads=4, mlp_dim=64, high_res_features=True)
    with pytest.raises(ValueError, match=r"no finer levels for the decoder: set decoder\.high_res_features=False"):
        IPSAM(micro("sam"), **parts)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"family": "sam4"}, ValueError, "family must be one of sam2, sam3, edgetam, sam, not 'sam4'"),
        ({"variant": "huge"}, ValueError, "variant of sam2 must be one of large, .*, micro, not 'huge'"),
        ({"image_size": 100}, ValueError, "image_size must be a positive multiple of 32 pixels, not 100"),
        ({"family": "sam3", "variant": "large", "image_size": 1024}, ValueError, "multiple of 14 pixels, not 1024"),
        ({"lora": LoRA(), "fine_tune": True}, ValueError, "fine_tune .* set lora=None"),
        ({"family": "edgetam", "lora": LoRA()}, ValueError, "edgetam has no attention to adapt: set lora=None"),
        ({"variant": "tiny", "checkpoint": "none"}, FileNotFoundError, r"(?s)none/.* hf download facebook/sam2\.1-hi"),
        ({"checkpoint": "text"}, ValueError, r"model\.safetensors is damaged or not a safetensors file"),
        ({"checkpoint": "other"}, ValueError, r"(?s)does not fit sam2, variant micro, at image_size=64\n.* 1 missing"),
    ],
)
def test_errors_name_the_argument(
    tmp_path: Path, monkeypatch: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("text", "other"):
        Path(folder).mkdir()
    Path("text/model.safetensors").write_text("no weights")
    state = by_transformers_names(micro_backbone())
    state.pop("prompt_encoder.no_mask_embed.weight")
    save_file(state, "other/model.safetensors")
    with pytest.raises(error, match=message):
        TransformersBackbone(**{"family": "sam2", "variant": "micro", "image_size": SIZE, **arguments})
