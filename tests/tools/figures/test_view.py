"""Views equal the model's own output, and the energy change equals a computation without a hook."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.builders import DIM, micro_model, randomise
from support.defaults import settings_with
from torch import Tensor, nn

from ipsam.data.placement import Placement
from ipsam.data.sources import Sample
from ipsam.engine.evaluate.page import WIDTH
from ipsam.engine.inference.forward import to_map
from ipsam.model import (
    IPSAM,
    ConcatenationFusion,
    CrossAttentionFusion,
    PromptSpaceGating,
    PurifiedAnchorGating,
    SubtractionFusion,
)
from ipsam.tools.figures.view import FigureModel, energy_changes, view
from ipsam.utils.imagenet import normalise


def at(grid: Tensor, size: tuple[int, int]) -> np.ndarray:
    return F.interpolate(grid, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()


def test_view_is_the_models_output(subject: FigureModel, sample: Sample) -> None:
    shown = view(subject, sample)
    with torch.inference_mode(), energy_changes(subject.model) as changes:
        output = subject.model(normalise(Placement(64, 64, 64).image(sample.image)[None]))
    assert shown.name == "a"
    assert shown.image is sample.image
    np.testing.assert_array_equal(shown.truth, sample.mask / 255)
    np.testing.assert_array_equal(shown.prob, to_map(output.logits[0], (40, 70), eight_bit=False))
    np.testing.assert_allclose(shown.fg, 1 / (1 + np.exp(-at(output.fg_logits, (40, 70)))), atol=1e-5)
    np.testing.assert_allclose(shown.bg, 1 / (1 + np.exp(-at(output.bg_logits, (40, 70)))), atol=1e-5)
    np.testing.assert_allclose(shown.gate, at(output.gate, (40, 70)), atol=1e-6)
    np.testing.assert_allclose(shown.energy, at(changes[0], (40, 70)), atol=1e-6)
    assert shown.energy is not None
    assert shown.energy.std() > 0
    larger = cv2.resize(sample.mask, (140, 80), interpolation=cv2.INTER_NEAREST)  # the mask's size differs
    np.testing.assert_array_equal(view(subject, Sample("a", sample.image, larger)).truth, shown.truth)


def test_letterboxed_view_is_the_models_part_of_the_input(subject: FigureModel, sample: Sample) -> None:
    placed = Placement.of((40, 70), 64, letterbox=True)
    shown = view(replace(subject, letterbox=True), sample)
    with torch.inference_mode(), energy_changes(subject.model) as changes:
        output = subject.model(normalise(placed.image(sample.image)[None]))
    np.testing.assert_array_equal(shown.prob, to_map(placed.cropped(output.logits[0]), (40, 70), eight_bit=False))
    for found, grid in ((shown.gate, output.gate), (shown.energy, changes[0])):
        np.testing.assert_allclose(found, at(placed.cropped(grid[0])[None], (40, 70)), atol=1e-6)


def test_large_image_is_predicted_whole_and_shown_smaller(subject: FigureModel, sample: Sample) -> None:
    large = Sample("b", cv2.resize(sample.image, (3 * WIDTH, 900)), cv2.resize(sample.mask, (3 * WIDTH, 900)))
    shown = view(subject, large)
    for pixels in (shown.image, shown.truth, shown.prob, shown.fg, shown.bg, shown.gate, shown.energy):
        assert pixels is not None
        assert pixels.shape[:2] == (300, WIDTH)
    with torch.inference_mode():
        output = subject.model(normalise(Placement(64, 64, 64).image(large.image)[None]))
    whole = to_map(output.logits[0], (900, 3 * WIDTH), eight_bit=False).numpy()
    np.testing.assert_allclose(shown.prob, whole.reshape(300, 3, WIDTH, 3).mean((1, 3)), atol=1e-5)
    assert shown.truth.mean() == pytest.approx((large.mask > 0).mean(), abs=1e-6)


@pytest.mark.parametrize(
    ("part", "absent"), [("gating", {"gate", "energy"}), ("self_prompt", {"fg", "bg", "gate", "energy"})]
)
def test_missing_parts_are_none(part: str, absent: set[str], sample: Sample) -> None:
    shown = view(FigureModel(micro_model(**{part: False}).eval(), 64, settings_with(cpu=True)), sample)
    assert {name for name, value in vars(shown).items() if value is None} == absent


def test_bf16_is_close_to_fp32(subject: FigureModel, sample: Sample) -> None:
    half = FigureModel(subject.model, 64, settings_with(cpu=True, precision="bf16"))
    one, other = view(subject, sample), view(half, sample)
    assert one.energy is not None
    assert other.energy is not None
    assert other.energy.dtype == np.float32
    np.testing.assert_allclose(other.prob, one.prob, atol=0.1)
    np.testing.assert_allclose(other.energy, one.energy, atol=0.1 * float(one.energy.max()))


def test_energy_is_negative_where_the_prompt_is_cancelled() -> None:
    """The first pixel's embedding is halved, the second's turned round and doubled, the third's left."""
    model = micro_model()

    class Scaled(nn.Module):
        def forward(self, fg_dense: Tensor, bg_dense: Tensor) -> tuple[Tensor, None]:
            return fg_dense * bg_dense, None

    model.gating = Scaled()
    with energy_changes(model) as changes:
        model.gating(torch.full((1, 4, 1, 3), 3.0), torch.tensor([0.5, -2.0, 1.0]).expand(1, 4, 1, 3))
    assert changes[0].tolist() == [[[[-3.0, 6.0, 0.0]]]]


def expected_energy(model: IPSAM, fg_logits: Tensor, bg_logits: Tensor) -> Tensor:
    foreground, background = model.encode(fg_logits), model.encode(bg_logits)
    assert model.gating is not None
    after = model.gating(foreground, background)[0]  # (b, c, h, w)
    return (after**2).sum(1, keepdim=True).sqrt() - (foreground**2).sum(1, keepdim=True).sqrt()


@pytest.mark.parametrize(
    "operator",
    [PromptSpaceGating, PurifiedAnchorGating, SubtractionFusion, ConcatenationFusion, CrossAttentionFusion],
)
def test_energy_is_the_change_of_the_norm(subject: FigureModel, sample: Sample, operator: type[nn.Module]) -> None:
    model = subject.model
    model.gating = operator(DIM)
    randomise(model.gating)
    image = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        before = model(image)
        with energy_changes(model) as changes:
            output = model(image)
            model(image[:1])
            (first, second) = changes
            torch.testing.assert_close(
                first, expected_energy(model, output.fg_logits, output.bg_logits), rtol=1e-4, atol=1e-5
            )
    assert first.shape == (2, 1, 4, 4)
    assert second.shape == (1, 1, 4, 4)
    assert first.std() > 0
    for field in fields(before):  # the hook changes no bit of the output
        one, other = getattr(before, field.name), getattr(output, field.name)
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other
    shown = view(subject, sample)
    assert (shown.gate is None) == (output.gate is None)
    assert shown.energy is not None
