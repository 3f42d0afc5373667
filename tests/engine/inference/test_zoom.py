"""The second look at small objects, and the average of several views."""

from typing import Any

import numpy as np
import pytest
import torch
from support.builders import micro_model, randomise

from ipsam.engine.inference.options import PredictionOptions
from ipsam.engine.inference.prediction import Prediction
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.inference.zoom import crop_box, look_again
from ipsam.model.baselines import SAM2, NullPrompt

SIZE = (900, 1200)


def scene(rows: slice, columns: slice) -> Prediction:
    prob = np.zeros(SIZE, np.float32)
    prob[rows, columns] = 0.9
    return Prediction(np.repeat(np.rint(prob * 100).astype(np.uint8)[..., None], 3, axis=2), prob)


def test_small_object_is_predicted_again_from_its_crop() -> None:
    small = scene(slice(400, 460), slice(300, 400))
    small.image[:] = 0
    small.image[410:450, 310:390] = 255  # the object itself, smaller than in the first look
    asked: list[Any] = []

    def predict(crops: list[np.ndarray]) -> list[Prediction]:
        asked.extend(crops)
        return [Prediction(crop, (crop[..., 0] / 255).astype(np.float32)) for crop in crops]

    (again,) = look_again([small], predict)
    (crop,) = asked
    assert 100 < crop.shape[0] < 200
    assert crop.shape[1] > crop.shape[0]
    assert np.array_equal(again.mask, small.image[..., 0] > 0)
    assert small.mask.sum() == 6000  # unchanged


@pytest.mark.parametrize(
    "span", [(slice(100, 800), slice(100, 1100)), (slice(0, 0), slice(0, 0)), (slice(None), slice(None))]
)
def test_filled_or_empty_image_stays(span: tuple[slice, slice]) -> None:
    one = scene(*span)
    assert crop_box(one.mask) is None
    assert look_again([one], lambda crops: pytest.fail("asked"))[0] is one  # type: ignore[arg-type, return-value]


def test_specks_do_not_widen_the_crop() -> None:
    one = scene(slice(400, 460), slice(300, 400))
    alone = crop_box(one.mask)
    one.prob[2:8, 1190:1195] = 0.9
    assert crop_box(one.mask) == alone


def test_another_object_is_not_pasted() -> None:
    small = scene(slice(400, 460), slice(300, 400))

    def predict(crops: list[np.ndarray]) -> list[Prediction]:
        return [Prediction(crop, np.zeros(crop.shape[:2], np.float32)) for crop in crops]

    assert look_again([small], predict)[0] is small


def test_only_small_objects_of_a_batch_are_asked_for() -> None:
    batch = [scene(slice(400, 460), slice(300, 400)), scene(slice(None), slice(None)), scene(slice(9, 50), slice(0, 9))]

    def predict(crops: list[np.ndarray]) -> list[Prediction]:
        assert len(crops) == 2
        return [Prediction(crop, np.float32(0.7) * (crop[..., 0] > 0)) for crop in crops]

    first, filled, last = look_again(batch, predict)
    assert filled is batch[1]
    assert first.prob[430, 350] == last.prob[20, 4] == np.float32(0.7)


@pytest.fixture
def varied() -> Predictor:
    model = micro_model().eval()
    randomise(model, scale=0.15)
    return Predictor(model, image_size=64, device="cpu")


def test_views_are_averaged(varied: Predictor, picture: np.ndarray) -> None:
    plain, flipped = varied.predict(picture), varied.predict(picture, tta="flip")
    mirrored = varied.predict(np.ascontiguousarray(picture[:, ::-1]), tta="flip")
    assert not np.array_equal(plain.prob, flipped.prob)
    np.testing.assert_allclose(mirrored.prob[:, ::-1], flipped.prob, atol=2e-3)  # of antialiased resizing
    assert np.array_equal(flipped.gate, plain.gate)
    assert flipped.options.tta == "flip"


def test_zoom_changes_nothing_where_the_object_fills_the_picture(varied: Predictor, picture: np.ndarray) -> None:
    low = varied.predict(picture, threshold=1e-6)
    assert low.mask.all()
    assert np.array_equal(varied.predict(picture, threshold=1e-6, zoom=True).prob, low.prob)


def test_letterbox_of_the_options_counts(varied: Predictor, picture: np.ndarray) -> None:
    other = Predictor(varied.model, image_size=64, letterbox=True, device="cpu", fast=False)
    assert np.array_equal(varied.predict(picture, letterbox=True).prob, other.predict(picture).prob)
    assert np.array_equal(varied.predict(picture).prob, other.predict(picture, letterbox=False).prob)
    assert not np.array_equal(varied.predict(picture).prob, other.predict(picture).prob)


def test_size_of_the_options_counts(varied: Predictor, picture: np.ndarray) -> None:
    plain, larger = varied.predict(picture), varied.predict(picture, size=96)
    model = micro_model(image_size=96).eval()
    model.load_state_dict(varied.model.state_dict())
    expected = Predictor(model, image_size=96, device="cpu").predict(picture)
    assert np.array_equal(larger.prob, expected.prob)
    assert larger.fg_logits.shape == (24, 24)
    assert np.array_equal(varied.predict(picture, size=64).prob, plain.prob)
    scales = varied.predict(picture, tta="scales")
    assert not np.array_equal(scales.prob, varied.predict(picture, tta="flip").prob)
    assert scales.fg_logits.shape == (16, 16)
    assert np.array_equal(varied.predict(picture).prob, plain.prob)  # the model's own size again


def test_model_of_one_size_is_named(picture: np.ndarray) -> None:
    predictor = Predictor(NullPrompt(SAM2("micro", image_size=64)), image_size=64, device="cpu")
    with pytest.raises(ValueError, match="NullPrompt takes images of 64 px only, not of 96: keep its own size"):
        predictor.predict(picture, size=96)
    with pytest.raises(ValueError, match="size=100: image_size must be a positive multiple of 32 pixels, not 100"):
        Predictor(micro_model(), image_size=64, device="cpu").predict(picture, size=100)
    for given in ({"size": 100}, {"size": 16, "tta": "scales"}):
        with pytest.raises(ValueError, match=r"size=\d+: image_size must be a positive multiple of 32 pixels"):
            Predictor(micro_model(), image_size=64, device="cpu", options=PredictionOptions(**given))
    assert torch.isfinite(torch.from_numpy(predictor.predict(picture, tta="flip", size=64).prob)).all()
