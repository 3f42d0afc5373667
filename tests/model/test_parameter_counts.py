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


MODULES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "spg+": (lambda: SelfPromptGenerator().positive, 3_960_257),
    "spg+ without mask tokens": (lambda: SelfPromptGenerator(num_mask_tokens=0).positive, 3_893_441),
    "spg-": (lambda: SelfPromptGenerator().negative, 3_893_441),
    "dense head": (lambda: SelfPromptGenerator().positive.dense_head, 535_873),
    "minimal spg+": (lambda: MinimalSelfPromptGenerator().positive, 221_825),
    "psg": (PromptSpaceGating, 1_983_873),
    "psg on E-": (lambda: PromptSpaceGating(context="negative", padding_mode="replicate"), 1_983_873),
    "purified anchor": (PurifiedAnchorGating, 1_983_873),
    "subtraction": (SubtractionFusion, 655_872),
    "concatenation": (ConcatenationFusion, 1_179_904),
    "cross-attention": (CrossAttentionFusion, 262_144),
    "feature addition": (FeatureAddition, 4_352),
    "binarised": (BinarisedPrompt, 0),
    "scaled": (lambda: ScaledPrompt(temperature=2.0), 0),
    "decoder": (MaskDecoder, 3_924_704),
    "decoder with own tokens": (lambda: MaskDecoder(own_mask_tokens=True), 3_924_704 + 1_024),
    "decoder with high-resolution skips": (lambda: MaskDecoder(high_res_features=True), 3_924_704 + 24_672),
    "decoder.transformer": (lambda: MaskDecoder().transformer, 3_291_264),
    "decoder.iou_token": (lambda: MaskDecoder().iou_token, 256),
    "decoder.upscaling": (lambda: MaskDecoder().output_upscaling, 73_952),
    "decoder.hypernetworks": (lambda: MaskDecoder().output_hypernetworks_mlps, 559_232),
    "lateral": (LateralInhibition, 147_585),
    "refine": (RefinementHead, 2_125_377),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_at_width_256(name: str) -> None:
    build, expected = MODULES[name]
    assert num_parameters(build()) == expected


@pytest.mark.parametrize(("own_mask_tokens", "expected"), [(False, 16_035_237), (True, 21_257_125 - 5_220_864)])
def test_everything_but_lora(own_mask_tokens: bool, expected: int) -> None:
    """Also where T is withheld (Table 3, part III): SPG's queries and projection still count."""
    decoder = MaskDecoder(own_mask_tokens=own_mask_tokens)
    parts = SelfPromptGenerator(), PromptSpaceGating(), decoder, LateralInhibition(), RefinementHead()
    assert num_parameters(*parts) == expected
    assert 32 * LORA_PER_RANK["large"] == 5_220_864


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
    ("rank", "choice", "unit", "printed"),
    [
        (16, {}, 163_152, 18.65),
        (32, {}, 163_152, 21.26),
        (64, {}, 163_152, 26.48),
        (32, {"projections": ("qkv",)}, 108_432, 19.51),
        (32, {"stages": (3, 4)}, 151_200, 20.87),
        (32, {"stages": (1, 2)}, 11_952, 16.42),
        (32, {"block_stride": 2}, 81_072, 18.63),
    ],
)
def test_t_param_of_lora_as_printed(backbone: SAM2Backbone, rank: int, choice: dict, unit: int, printed: float) -> None:
    assert per_rank(LoRA(**choice), backbone.image_encoder.trunk) == unit
    assert round((16_035_237 + rank * unit) / 1e6, 2) == printed


@pytest.mark.parametrize("rank", [1, 3])
def test_the_unit_is_what_peft_adds(rank: int) -> None:
    backbone = micro_backbone()
    before, unit = num_parameters(backbone), per_rank(LoRA(), backbone.image_encoder.trunk)
    LoRA(rank=rank).inject(backbone.image_encoder.trunk)
    assert num_parameters(backbone) - before == rank * unit
