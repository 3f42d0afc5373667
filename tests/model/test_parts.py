"""IPSAM refuses parts that don't fit together."""

from typing import Any

import pytest
from support.builders import DIM, TRANSFORMER, micro_backbone, micro_model, micro_parts

from ipsam.model import (
    IPSAM,
    BinarisedPrompt,
    FeatureAddition,
    MaskDecoder,
    MinimalSelfPromptGenerator,
    SAM2Backbone,
    SelfPromptGenerator,
)


def test_unknown_mask_reduction() -> None:
    with pytest.raises(ValueError, match="mask_reduction must be one of mean, first, not 'max'"):
        micro_model(mask_reduction="max")


def test_gating_without_self_prompt() -> None:
    model = micro_model(self_prompt=False)
    with pytest.raises(ValueError, match=r"with self_prompt=None .* set gating=None as well"):
        IPSAM(model.backbone, decoder=model.decoder, gating=micro_parts()["gating"])


def test_no_self_prompt_and_no_mask_tokens() -> None:
    with pytest.raises(ValueError, match=r"set decoder.own_mask_tokens=True"):
        IPSAM(micro_model().backbone, decoder=micro_parts()["decoder"])


def test_a_self_prompt_without_mask_tokens_and_none_of_the_decoders() -> None:
    with pytest.raises(ValueError, match=r"set decoder.own_mask_tokens=True"):
        IPSAM(micro_backbone(), **micro_parts(self_prompt=MinimalSelfPromptGenerator(DIM)))


def test_mask_tokens_twice() -> None:
    decoder = MaskDecoder(DIM, own_mask_tokens=True, **TRANSFORMER)
    with pytest.raises(ValueError, match=r"set self_prompt.num_mask_tokens=0 with it"):
        IPSAM(micro_backbone(), **micro_parts(decoder=decoder))


def test_unknown_prediction() -> None:
    with pytest.raises(ValueError, match="prediction must be one of decoder, fg_prompt, not 'coarse'"):
        micro_model(prediction="coarse")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"prediction": "fg_prompt"}, "set prediction=decoder as well"),
        ({"dense_prompt": BinarisedPrompt()}, "set dense_prompt=None as well"),
        ({"feature_addition": FeatureAddition(DIM)}, "set feature_addition=None as well"),
    ],
)
def test_what_needs_self_prompts(argument: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        micro_model(self_prompt=False, **argument)


def test_a_trained_prompt_encoder_needs_self_prompts() -> None:
    backbone = SAM2Backbone("micro", image_size=64, train_prompt_encoder=True)
    with pytest.raises(ValueError, match=r"set backbone.train_prompt_encoder=False"):
        IPSAM(backbone, decoder=MaskDecoder(DIM, own_mask_tokens=True, **TRANSFORMER))


@pytest.mark.parametrize("arguments", [{}, {"gating": False, "dense_prompt": BinarisedPrompt()}])
def test_feature_addition_leaves_the_prompt_space(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"set gating=None and dense_prompt=None"):
        micro_model(feature_addition=FeatureAddition(DIM), **arguments)


def test_the_decoders_width_is_the_backbones() -> None:
    with pytest.raises(ValueError, match=r"decoder\.dim is 32, but the backbone's embedding width is 64"):
        IPSAM(micro_backbone(), **micro_parts(decoder=MaskDecoder(32, num_heads=4, mlp_dim=32)))


def test_self_prompts_tokens_are_as_many_as_the_decoders_masks() -> None:
    generator = SelfPromptGenerator(64, num_mask_tokens=3, num_heads=4, mlp_dim=32, head_channels=(8, 8, 8, 8))
    with pytest.raises(ValueError, match=r"num_mask_tokens is 3, but decoder.num_mask_tokens is 4"):
        IPSAM(micro_backbone(), **micro_parts(self_prompt=generator))
