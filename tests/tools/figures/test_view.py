import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.builders import micro_model

from ipsam.data.sources import Sample
from ipsam.data.transforms import network_input
from ipsam.engine.inference.forward import to_map
from ipsam.engine.runs.settings import Settings
from ipsam.model import SubtractionFusion
from ipsam.tools.figures.pictures import WIDTH
from ipsam.tools.figures.view import Subject, energy_changes, view
from ipsam.utils.imagenet import normalise


def at(grid: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    return F.interpolate(grid, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()


def test_a_view_is_what_the_model_makes(subject: Subject, sample: Sample) -> None:
    seen = view(subject, sample)
    with torch.inference_mode(), energy_changes(subject.model) as changes:
        output = subject.model(normalise(network_input(sample.image, 64)[None]))
    assert seen.name == "a"
    assert seen.image is sample.image
    np.testing.assert_array_equal(seen.truth, sample.mask / 255)
    np.testing.assert_array_equal(seen.prob, to_map(output.logits[0], (40, 70), eight_bit=False))
    np.testing.assert_allclose(seen.fg, 1 / (1 + np.exp(-at(output.fg_logits, (40, 70)))), atol=1e-5)
    np.testing.assert_allclose(seen.bg, 1 / (1 + np.exp(-at(output.bg_logits, (40, 70)))), atol=1e-5)
    np.testing.assert_allclose(seen.gate, at(output.gate, (40, 70)), atol=1e-6)
    np.testing.assert_allclose(seen.energy, at(changes[0], (40, 70)), atol=1e-6)
    assert seen.energy is not None
    assert seen.energy.std() > 0


def test_a_large_image_is_looked_at_whole_and_shown_smaller(subject: Subject, sample: Sample) -> None:
    large = Sample("b", cv2.resize(sample.image, (3 * WIDTH, 900)), cv2.resize(sample.mask, (3 * WIDTH, 900)))
    seen = view(subject, large)
    for pixels in (seen.image, seen.truth, seen.prob, seen.fg, seen.bg, seen.gate, seen.energy):
        assert pixels is not None
        assert pixels.shape[:2] == (300, WIDTH)
    with torch.inference_mode():
        output = subject.model(normalise(network_input(large.image, 64)[None]))
    whole = to_map(output.logits[0], (900, 3 * WIDTH), eight_bit=False).numpy()
    np.testing.assert_allclose(seen.prob, whole.reshape(300, 3, WIDTH, 3).mean((1, 3)), atol=1e-5)
    assert seen.truth.mean() == pytest.approx((large.mask > 0).mean(), abs=1e-6)


def test_a_mask_of_another_size_is_brought_to_the_images(subject: Subject, sample: Sample) -> None:
    larger = cv2.resize(sample.mask, (140, 80), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(view(subject, Sample("a", sample.image, larger)).truth, sample.mask / 255)


@pytest.mark.parametrize(
    ("part", "absent"), [("gating", {"gate", "energy"}), ("self_prompt", {"fg", "bg", "gate", "energy"})]
)
def test_parts_that_a_model_lacks(part: str, absent: set[str], sample: Sample) -> None:
    seen = view(Subject(micro_model(**{part: False}).eval(), 64, Settings(cpu=True)), sample)
    assert {name for name, value in vars(seen).items() if value is None} == absent


def test_an_operator_without_a_gate_has_an_energy(subject: Subject, sample: Sample) -> None:
    subject.model.gating = SubtractionFusion(64)
    seen = view(subject, sample)
    assert seen.gate is None
    assert seen.energy is not None


def test_in_bf16_it_is_much_the_same(subject: Subject, sample: Sample) -> None:
    half = Subject(subject.model, 64, Settings(cpu=True, precision="bf16"))
    one, other = view(subject, sample), view(half, sample)
    assert one.energy is not None
    assert other.energy is not None
    assert other.energy.dtype == np.float32
    np.testing.assert_allclose(other.prob, one.prob, atol=0.1)
    np.testing.assert_allclose(other.energy, one.energy, atol=0.1 * float(one.energy.max()))


def test_logits_that_are_not_finite_are_named(subject: Subject, sample: Sample) -> None:
    with torch.no_grad():
        next(subject.model.refine.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="a: the model's logits are not finite; its training has diverged"):
        view(subject, sample)
