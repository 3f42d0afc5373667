"""The energy change, against a computation that goes no way through a hook."""

from dataclasses import fields

import pytest
import torch
from support.builders import DIM, micro_model, randomise
from torch import Tensor, nn

from ipsam.model import (
    IPSAM,
    ConcatenationFusion,
    CrossAttentionFusion,
    PromptSpaceGating,
    PurifiedAnchorGating,
    SubtractionFusion,
)
from ipsam.tools.figures.view import energy_changes


def expected(model: IPSAM, fg_logits: Tensor, bg_logits: Tensor) -> Tensor:
    foreground, background = model.encode(fg_logits), model.encode(bg_logits)
    assert model.gating is not None
    change = model.gating(foreground, background)[0] - foreground  # (b, c, h, w)
    return (change**2).sum(1, keepdim=True).sqrt()


@pytest.mark.parametrize(
    "operator",
    [PromptSpaceGating, PurifiedAnchorGating, SubtractionFusion, ConcatenationFusion, CrossAttentionFusion],
)
def test_it_is_the_norm_of_the_change(model: IPSAM, operator: type[nn.Module]) -> None:
    model.gating = operator(DIM)
    randomise(model.gating)
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode(), energy_changes(model) as changes:
        output = model(image)
        assert output.fg_logits is not None
        assert output.bg_logits is not None
        other = model(image[:1])
        (first, second) = changes
        torch.testing.assert_close(first, expected(model, output.fg_logits, output.bg_logits), rtol=1e-4, atol=1e-5)
    assert first.shape == (2, 1, 4, 4)
    assert second.shape == (1, 1, 4, 4)
    assert first.min() > 0
    assert first.std() > 0
    assert other.gate is None or other.gate.shape == (1, 1, 4, 4)


def test_the_models_output_stays_the_same_to_the_bit(model: IPSAM) -> None:
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        before = model(image)
        with energy_changes(model):
            during = model(image)
    for field in fields(before):
        one, other = getattr(before, field.name), getattr(during, field.name)
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other


def test_the_hook_does_not_stay(model: IPSAM) -> None:
    assert model.gating is not None

    def fail() -> None:
        with energy_changes(model):
            assert len(model.gating._forward_hooks) == 1
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert not model.gating._forward_hooks


def test_an_untrained_gating_changes_nothing() -> None:
    with torch.inference_mode(), energy_changes(model := micro_model().eval()) as changes:
        model(torch.randn(1, 3, 64, 64))
    assert not changes[0].any()


@pytest.mark.parametrize("part", ["gating", "self_prompt"])
def test_nothing_is_collected_without_an_operator(part: str) -> None:
    model = micro_model(**{part: False}).eval()
    with torch.inference_mode(), energy_changes(model) as changes:
        model(torch.randn(1, 3, 64, 64))
    assert changes == []


def test_in_bf16_the_difference_is_taken_in_fp32() -> None:
    gating = nn.Module()
    gating.forward = lambda fg, bg: (fg + bg, None)
    holder = nn.Module()
    holder.gating = gating
    foreground, background = torch.full((1, 1, 1, 1), 1.0), torch.full((1, 1, 1, 1), 2.0**-7)
    with energy_changes(holder) as changes:
        gating(foreground.bfloat16(), background.bfloat16())
    assert changes[0].dtype == torch.float32
    assert changes[0].item() == 2.0**-7
