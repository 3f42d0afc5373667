"""Section 3.2: binarised and temperature-scaled dense prompts."""

import pytest
import torch
from support.builders import micro_model, randomise

from ipsam.model import BinarisedPrompt, ScaledPrompt


def test_binarised_prompt_has_two_values() -> None:
    logits = torch.tensor([[[[-3.0, -1e-6], [0.0, 0.2]]]], requires_grad=True)
    prompt = BinarisedPrompt()(logits)
    assert prompt.tolist() == [[[[-10, -10], [-10, 10]]]]
    assert not prompt.requires_grad
    assert BinarisedPrompt(magnitude=2.5)(logits)[0, 0, 1].tolist() == [-2.5, 2.5]


def test_scaled_prompt_is_divided_by_the_temperature() -> None:
    logits = torch.tensor([[[[-3.0, 1.0]]]], requires_grad=True)
    prompt = ScaledPrompt(temperature=0.5)(logits)
    assert prompt.tolist() == [[[[-6, 2]]]]
    prompt.sum().backward()
    assert logits.grad.tolist() == [[[[2, 2]]]]


@pytest.mark.parametrize("prompt", [BinarisedPrompt(), ScaledPrompt(temperature=0.5)])
def test_both_prompts_are_transformed_before_the_prompt_encoder(prompt: torch.nn.Module) -> None:
    model = micro_model(dense_prompt=prompt).eval()
    randomise(model.gating)
    seen = []
    model.gating.register_forward_pre_hook(lambda _, args: seen.append(args))
    output = model(torch.randn(2, 3, 64, 64))
    [(foreground, background)] = seen
    assert torch.equal(foreground, model.backbone.encode_dense(prompt(output.fg_logits)))
    assert torch.equal(background, model.backbone.encode_dense(prompt(output.bg_logits)))


def test_binarised_prompts_learn_from_their_own_supervision() -> None:
    model = micro_model(dense_prompt=BinarisedPrompt())
    output = model(torch.randn(1, 3, 64, 64))
    output.logits.mean().backward()
    assert model.self_prompt.positive.dense_head.layers[0][0].weight.grad is None
    output = model(torch.randn(1, 3, 64, 64))
    output.fg_logits.mean().backward()
    assert model.self_prompt.positive.dense_head.layers[0][0].weight.grad is not None
