"""Parameters of every module at the paper's width: they make up each printed T-Param to its last digit."""

from collections.abc import Callable

import pytest
from support.builders import micro_backbone
from torch import nn

from ipsam.model import (
    BinarisedPrompt,
    ConcatenationFusion,
    CrossAttentionFusion,
    FeatureAddition,
    LateralInhibition,
    LoRA,
    MaskDecoder,
    MinimalSelfPromptGenerator,
    PromptSpaceGating,
    PurifiedAnchorGating,
    RefinementHead,
    SAM2Backbone,
    ScaledPrompt,
    SelfPromptGenerator,
    SubtractionFusion,
)

LORA_PER_RANK = {"large": 163_152, "base_plus": 63_728, "tiny": 27_552}


def num_parameters(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: SelfPromptGenerator().positive, 3_960_257),
        (lambda: SelfPromptGenerator().negative, 3_893_441),
        (lambda: SelfPromptGenerator().positive.dense_head, 535_873),
        (PromptSpaceGating, 1_983_873),
        (MaskDecoder, 3_924_704),
        (lambda: MaskDecoder().transformer, 3_291_264),
        (lambda: MaskDecoder().iou_token, 256),
        (lambda: MaskDecoder().output_upscaling, 73_952),
        (lambda: MaskDecoder().output_hypernetworks_mlps, 559_232),
        (lambda: MaskDecoder(own_mask_tokens=True), 3_924_704 + 1_024),
        (LateralInhibition, 147_585),
        (RefinementHead, 2_125_377),
        (lambda: MinimalSelfPromptGenerator().positive, 221_825),
        (lambda: SelfPromptGenerator(num_mask_tokens=0).positive, 3_893_441),
        (PurifiedAnchorGating, 1_983_873),
        (SubtractionFusion, 655_872),
        (ConcatenationFusion, 1_179_904),
        (CrossAttentionFusion, 262_144),
        (FeatureAddition, 4_352),
        (BinarisedPrompt, 0),
        (lambda: ScaledPrompt(temperature=2.0), 0),
    ],
    ids=[
        "spg+",
        "spg-",
        "dense_head",
        "psg",
        "decoder",
        "decoder.transformer",
        "decoder.iou_token",
        "decoder.upscaling",
        "decoder.hypernetworks",
        "decoder_own_tokens",
        "lateral",
        "refine",
        "minimal_spg+",
        "spg+_without_mask_tokens",
        "purified_anchor",
        "subtraction",
        "concatenation",
        "cross_attention",
        "feature_addition",
        "binarised",
        "scaled",
    ],
)
def test_modules_at_width_256(build: Callable[[], nn.Module], expected: int) -> None:
    assert num_parameters(build()) == expected


def test_everything_but_lora() -> None:
    parts = SelfPromptGenerator(), PromptSpaceGating(), MaskDecoder(), LateralInhibition(), RefinementHead()
    assert num_parameters(*parts) == 16_035_237


@pytest.mark.parametrize(
    ("replaced", "by", "printed"),
    [
        (SelfPromptGenerator, MinimalSelfPromptGenerator, 13.85),
        (PromptSpaceGating, nn.Identity, 19.27),
        (PromptSpaceGating, SubtractionFusion, 19.93),
        (PromptSpaceGating, CrossAttentionFusion, 19.53),
        (PromptSpaceGating, PurifiedAnchorGating, 21.26),
    ],
)
def test_t_param_of_table_3_as_printed(replaced: type[nn.Module], by: Callable[[], nn.Module], printed: float) -> None:
    full = (SelfPromptGenerator, PromptSpaceGating, MaskDecoder, LateralInhibition, RefinementHead)
    parts = [by() if part is replaced else part() for part in full]
    own_tokens = 1_024 * (by is MinimalSelfPromptGenerator)
    millions = (num_parameters(*parts) + own_tokens + 32 * LORA_PER_RANK["large"]) / 1e6
    assert round(millions, 2) == printed


@pytest.fixture(scope="module", params=LORA_PER_RANK)
def backbone(request: pytest.FixtureRequest) -> SAM2Backbone:
    return SAM2Backbone(request.param)


def per_rank(lora: LoRA, trunk: nn.Module) -> int:
    """Parameters of a rank-1 update of the chosen layers."""
    layers = [trunk.get_submodule(name) for name in lora.target_modules(trunk)]
    return sum(layer.in_features + layer.out_features for layer in layers)


def test_lora_units_of_the_trunks(backbone: SAM2Backbone, request: pytest.FixtureRequest) -> None:
    trunk = backbone.image_encoder.trunk
    assert per_rank(LoRA(), trunk) == LORA_PER_RANK[request.node.callspec.params["backbone"]]
    assert num_parameters(backbone.prompt_encoder) == 6_220


@pytest.mark.parametrize("backbone", ["large"], indirect=True)
@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"projections": ("qkv",)}, 108_432),
        ({"projections": ("proj",)}, 54_720),
        ({"stages": (3, 4)}, 151_200),
        ({"stages": (1, 2)}, 11_952),
        ({"block_stride": 2}, 81_072),
    ],
    ids=["qkv", "proj", "deep", "shallow", "sparse"],
)
def test_lora_units_of_table_3(backbone: SAM2Backbone, choice: dict, expected: int) -> None:
    trunk = backbone.image_encoder.trunk
    assert per_rank(LoRA(**choice), trunk) == expected


@pytest.mark.parametrize("backbone", ["large"], indirect=True)
def test_blocks_of_sam2_large(backbone: SAM2Backbone) -> None:
    def blocks(**choice: object) -> list[int]:
        names = LoRA(**choice).target_modules(backbone.image_encoder.trunk)
        return sorted({int(name.split(".")[1]) for name in names})

    assert blocks() == list(range(48))
    assert blocks(stages=(1, 2)) == list(range(8))
    assert blocks(stages=(3, 4)) == list(range(8, 48))
    assert blocks(block_stride=2) == list(range(0, 48, 2))


@pytest.mark.parametrize(
    ("rank", "choice", "printed"),
    [
        (16, {}, 18.65),
        (32, {}, 21.26),
        (64, {}, 26.48),
        (32, {"projections": ("qkv",)}, 19.51),
        (32, {"stages": (3, 4)}, 20.87),
        (32, {"stages": (1, 2)}, 16.42),
        (32, {"block_stride": 2}, 18.63),
    ],
)
@pytest.mark.parametrize("backbone", ["large"], indirect=True)
def test_t_param_as_printed(backbone: SAM2Backbone, rank: int, choice: dict, printed: float) -> None:
    millions = (16_035_237 + rank * per_rank(LoRA(**choice), backbone.image_encoder.trunk)) / 1e6
    assert round(millions, 2) == printed


@pytest.mark.parametrize("rank", [1, 3])
def test_the_unit_is_what_peft_adds(rank: int) -> None:
    backbone = micro_backbone()
    before, unit = num_parameters(backbone), per_rank(LoRA(), backbone.image_encoder.trunk)
    LoRA(rank=rank).inject(backbone.image_encoder.trunk)
    assert num_parameters(backbone) - before == rank * unit
