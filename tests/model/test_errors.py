"""Errors of constructors: each names the argument, the value and the way out."""

from collections.abc import Callable
from typing import Any

import pytest
from support.builders import DIM, TRANSFORMER, micro_backbone, micro_model, micro_parts

from ipsam.model import (
    IPSAM,
    BinarisedPrompt,
    CrossAttentionFusion,
    FeatureAddition,
    LateralInhibition,
    LoRA,
    MaskDecoder,
    MinimalSelfPromptGenerator,
    PromptSpaceGating,
    PurifiedAnchorGating,
    SAM2Backbone,
    ScaledPrompt,
    SelfPromptGenerator,
)
from ipsam.model.baselines import MDSAM, SAM, SAM2, HieraAdapter, ViTAdapter

SMALL: dict[str, Any] = {"image_size": 64}


def ipsam_of(**parts: Any) -> IPSAM:
    return IPSAM(micro_backbone(), **micro_parts(**parts))


def generator(**arguments: Any) -> SelfPromptGenerator:
    return SelfPromptGenerator(DIM, **{"head_channels": (8, 8, 8, 8), **TRANSFORMER, **arguments})


def own_tokens() -> MaskDecoder:
    return MaskDecoder(DIM, own_mask_tokens=True, **TRANSFORMER)


PARTS: list[tuple[Callable[[], object], str]] = [
    (lambda: micro_model(mask_reduction="max"), "mask_reduction must be one of mean, first, not 'max'"),
    (lambda: micro_model(prediction="coarse"), "prediction must be one of decoder, fg_prompt, not 'coarse'"),
    (
        lambda: IPSAM(micro_backbone(), decoder=own_tokens(), gating=PromptSpaceGating(DIM)),
        "self_prompt=None .* set gating=None as well",
    ),
    (lambda: micro_model(self_prompt=False, prediction="fg_prompt"), "self_prompt=None .* set prediction=decoder"),
    (lambda: micro_model(self_prompt=False, dense_prompt=BinarisedPrompt()), "set dense_prompt=None"),
    (lambda: micro_model(self_prompt=False, feature_addition=FeatureAddition(DIM)), "set feature_addition=None"),
    (
        lambda: IPSAM(SAM2Backbone("micro", image_size=64, train_prompt_encoder=True), decoder=own_tokens()),
        r"self_prompt=None .* set backbone\.train_prompt_encoder=False",
    ),
    (lambda: micro_model(feature_addition=FeatureAddition(DIM)), "set gating=None and dense_prompt=None"),
    (lambda: IPSAM(micro_backbone(), decoder=MaskDecoder(DIM, **TRANSFORMER)), r"set decoder\.own_mask_tokens=True"),
    (lambda: ipsam_of(self_prompt=MinimalSelfPromptGenerator(DIM)), r"set decoder\.own_mask_tokens=True"),
    (
        lambda: ipsam_of(self_prompt=generator(num_mask_tokens=3)),
        r"num_mask_tokens is 3, but decoder\.num_mask_tokens is 4",
    ),
    (
        lambda: micro_model(decoder_weights="sam2"),
        r"decoder_weights=sam2 .* with backbone\.checkpoint=\.\.\., or set decoder_weights=None",
    ),
    (
        lambda: micro_model(decoder_weights="sam"),
        "decoder_weights must be one of sam2, not 'sam'; or set decoder_weights=None",
    ),
    (lambda: micro_model(detach_coarse=True, refine=False), "refine=None .* set detach_coarse=False as well"),
    (
        lambda: ipsam_of(decoder=MaskDecoder(32, num_heads=4, mlp_dim=32)),
        r"decoder\.dim is 32, but the backbone's embedding width is 64",
    ),
]
BACKBONES: list[tuple[Callable[[], object], str]] = [
    (lambda: SAM2Backbone("huge"), "variant must be one of large, base_plus, small, tiny, micro, not 'huge'"),
    *(
        (
            lambda size=size: SAM2Backbone("micro", image_size=size),
            f"image_size must be .* multiple of 32 pixels, not {size}",
        )
        for size in (0, 100)
    ),
    (lambda: SAM2Backbone("micro", **SMALL, lora=LoRA(), fine_tune=True), "fine_tune .* set lora=None"),
    (lambda: LoRA(rank=0), "rank must be at least 1, not 0; for no LoRA set lora=None"),
    *(
        (lambda alpha=alpha: LoRA(alpha=alpha), f"alpha must be a positive number, not {alpha}; None means")
        for alpha in (0, -2.0, float("nan"))
    ),
    (lambda: LoRA(block_stride=0), "block_stride must be at least 1, not 0"),
    (lambda: LoRA(projections=("qkv", "mlp")), r"projections must be some of \['qkv', 'proj'\], not \['qkv', 'mlp'\]"),
    (lambda: LoRA(stages=()), r"stages must be some of \[1, 2, 3, 4\], not \[\]"),
    (lambda: LoRA(stages=(0, 1)), r"stages must be some of \[1, 2, 3, 4\], not \[0, 1\]"),
    # Stage 2 of the micro trunk is block 1 alone, which is odd.
    (
        lambda: micro_backbone(lora=LoRA(stages=(2,), block_stride=2)),
        r"stages \[2\] with block_stride 2 select no block",
    ),
]
OPERATORS: list[tuple[Callable[[], object], str]] = [
    (lambda: PromptSpaceGating(DIM, context="both"), "context must be one of positive, negative, not 'both'"),
    (
        lambda: PurifiedAnchorGating(DIM, padding_mode="circular"),
        "padding_mode must be one of zeros, replicate, not 'circular'",
    ),
    (lambda: CrossAttentionFusion(DIM, num_heads=3), "num_heads must divide .* 64, not be 3"),
    *(
        (lambda alpha=alpha: LateralInhibition(DIM, alpha=alpha), rf"alpha .* must lie in \[0, 1\], not {alpha}")
        for alpha in (1.1, float("nan"))
    ),
    *(
        (lambda value=value: BinarisedPrompt(magnitude=value), f"magnitude of the dense prompt must be .*, not {value}")
        for value in (0.0, float("nan"))
    ),
    (lambda: ScaledPrompt(temperature=-1.0), "temperature of the dense prompt must be a positive number, not -1.0"),
    (lambda: generator(num_sparse=0), "num_sparse must be at least 1, not 0"),
    (lambda: generator(head_channels=(32, 16)), r"head_channels must hold four widths, not \[32, 16\]"),
]
BASELINES: list[tuple[Callable[[], object], str]] = [
    (lambda: SAM("tiny"), "variant must be one of huge, large, base, micro, not 'tiny'"),
    (lambda: SAM("micro", image_size=100), "image_size must be a positive multiple of 16 pixels, not 100"),
    (
        lambda: SAM("micro", **SMALL, adapter=ViTAdapter(scale_factor=8), train_encoder=True),
        "set train_encoder=False or adapter=None",
    ),
    (
        lambda: SAM("micro", **SMALL, adapter=ViTAdapter(scale_factor=64)),
        "scale_factor must be between 1 and .* 48, not 64",
    ),
    (
        lambda: SAM2("micro", **SMALL, adapter=HieraAdapter(scale_factor=17)),
        "scale_factor must be between 1 and .* 16, not 17",
    ),
    (
        lambda: SAM2("micro", **SMALL, lora=LoRA(), adapter=HieraAdapter(scale_factor=8)),
        "set lora=None or adapter=None",
    ),
    (lambda: SAM2("micro", **SMALL, two_mask_decoder=True), "two_mask_decoder .* set train_decoder=True with it"),
    (lambda: MDSAM(SAM("micro", **SMALL, min_max=True)), "set min_max=False"),
    (
        lambda: MDSAM(SAM("micro", **SMALL, train_encoder=True)),
        "MDSAM needs a frozen backbone: set train_encoder=False",
    ),
    (lambda: MDSAM(SAM("micro", **SMALL, train_decoder=True)), "MDSAM needs a frozen backbone"),
]


@pytest.mark.parametrize(("build", "message"), [*PARTS, *BACKBONES, *OPERATORS, *BASELINES])
def test_constructor_names_the_argument(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
