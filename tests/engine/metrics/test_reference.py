"""The metrics against PySODMetrics, on everything that could tell them apart."""

import cv2
import numpy as np
import py_sod_metrics as reference
import pytest
from numpy.typing import NDArray
from support.metric_cases import KINDS, Map, by_reference, by_reference_without_normalisation, cases
from support.quick import only

from ipsam.engine.metrics import CURVES, METRICS, ImageScores, Protocol, measure

# Cases of each kind, of which there are 15.
NUM_CASES = only({8}, [8, 60])
NUM_OTHER_CASES = only({4}, [4, 20])  # of protocols other than the default
FROM_COUNTS = ("em", "em_adp", "em_max", "f", "f_adp", "f_max", "mdice", "miou", "dice_50", "iou_50")

# The reference's own warnings: NaN where a quadrant is empty, the deviation of no pixels.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Mean of empty slice", "ignore:invalid value", "ignore:divide by zero", "ignore:Degrees of freedom"
)


@pytest.fixture(autouse=True)
def empty_quadrants_add_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one documented difference: PySODMetrics' S-measure is NaN where a quadrant has no pixels."""
    ssim = reference.Smeasure.ssim
    monkeypatch.setattr(reference.Smeasure, "ssim", lambda self, pred, gt: ssim(self, pred, gt) if pred.size else 0.0)


def assert_equal(
    image: ImageScores, expected: tuple[dict[str, float], dict[str, NDArray[np.float64]]], *, to_the_bit: bool
) -> None:
    scores, curves = expected
    assert tuple(image.scores) == tuple(METRICS)
    for name in METRICS:
        assert image.scores[name] == pytest.approx(scores[name], rel=0, abs=1e-9), name
    for index, name in enumerate(CURVES):
        if to_the_bit:
            assert np.array_equal(image.curves[index], curves[name]), name
        else:
            assert np.abs(image.curves[index] - curves[name]).max() < 1e-9, name
    if to_the_bit:
        assert {name: image.scores[name] for name in FROM_COUNTS} == {name: scores[name] for name in FROM_COUNTS}


@pytest.mark.parametrize("num_cases", NUM_CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_eight_bit_predictions(kind: str, num_cases: int) -> None:
    for prediction, mask in cases(kind, num_cases):
        assert_equal(measure(prediction, mask, Protocol()), by_reference(prediction, mask), to_the_bit=True)


@pytest.mark.parametrize("num_cases", NUM_OTHER_CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_eight_bit_predictions_without_min_max(kind: str, num_cases: int) -> None:
    for prediction, mask in cases(kind, num_cases):
        expected = by_reference_without_normalisation(prediction / 255, mask)
        assert_equal(measure(prediction, mask, Protocol(min_max=False)), expected, to_the_bit=True)


@pytest.mark.parametrize("num_cases", NUM_OTHER_CASES)
@pytest.mark.parametrize("min_max", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_float_predictions(kind: str, min_max: bool, num_cases: int) -> None:
    rng = np.random.default_rng(0)
    for levels, mask in cases(kind, num_cases):
        prediction = np.clip(levels / 255 + rng.choice([0, 1e-3]) * rng.standard_normal(levels.shape), 0, 1)
        spread = prediction.max() - prediction.min()
        stretched = (prediction - prediction.min()) / spread if min_max and spread else prediction
        image = measure(prediction, mask, Protocol(eight_bit=False, min_max=min_max))
        assert_equal(image, by_reference_without_normalisation(stretched, mask), to_the_bit=False)


@pytest.mark.parametrize("number", range(3))
def test_images_of_real_size(number: int) -> None:
    """Large enough for weights beyond their reach, work in strips, and foreground in several places."""
    rng = np.random.default_rng(number)
    shape = (620, 910)
    mask = np.zeros(shape, np.uint8)
    for _ in range(number + 1):
        centre, radii = rng.integers(60, 560, 2), rng.integers(5, 60, 2)
        cv2.ellipse(mask, centre.tolist(), radii.tolist(), float(rng.integers(180)), 0, 360, 255, -1)
    soft = cv2.GaussianBlur(np.roll(mask, 15, 1), (0, 0), 9).astype(np.float64)
    prediction = (soft * 0.8 + rng.integers(0, 40, shape)).clip(3, 255).astype(np.uint8)
    assert_equal(measure(prediction, mask, Protocol()), by_reference(prediction, mask), to_the_bit=True)


def test_more_pixels_than_float32_counts() -> None:
    """cv2.calcHist counts in float32, which knows no odd numbers above 2^24."""
    mask = np.zeros((4098, 4100), np.uint8)
    mask[0, 0] = 255  # the quadrant below and to the right of it has 4097 x 4099 pixels
    image = measure(mask, mask, Protocol())
    assert image.curves[CURVES.index("precision"), -1] == 1 / mask.size


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(slice(-1, None), slice(10, 20)), (slice(5, 30), slice(-1, None)), (slice(-1, None), slice(-1, None))],
    ids=["last row", "last column", "corner"],
)
def test_sm_where_the_mask_hugs_the_border(rows: slice, columns: slice, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference gives NaN; the limit is what a row and a column of nothing tend to as their share vanishes."""
    monkeypatch.undo()
    mask = np.zeros((40, 56), np.uint8)
    mask[rows, columns] = 255
    prediction = cv2.GaussianBlur(mask, (0, 0), 2)
    differences = []
    for margin in (0, 100, 1000):
        larger = [np.pad(part, ((margin, 0), (margin, 0))) for part in (prediction, mask)]
        assert np.isnan(by_reference(larger[0], larger[1])[0]["sm"])
        score = measure(larger[0], larger[1], Protocol()).scores["sm"]
        beside_nothing = [np.pad(part, ((0, 1), (0, 1))) for part in larger]
        differences.append(abs(by_reference(beside_nothing[0], beside_nothing[1])[0]["sm"] - score))
    assert differences[0] > differences[1] > differences[2]
    assert differences[2] < 1e-3


def test_weighted_f_takes_its_beta() -> None:
    prediction, mask = next(cases("blob", 1))
    metric = reference.WeightedFmeasure(beta=0.3)
    metric.step(prediction, mask)
    assert measure(prediction, mask, Protocol(fw_beta2=0.3)).scores["fw"] == pytest.approx(metric.weighted_fms[0])


def test_neither_input_is_changed() -> None:
    for kind in KINDS:
        prediction, mask = next(cases(kind, 1))
        before: tuple[Map, Map] = (prediction.copy(), mask.copy())
        for protocol in (Protocol(), Protocol(eight_bit=False), Protocol(size=32, binarise=True)):
            measure(prediction, mask, protocol)
        assert np.array_equal(prediction, before[0])
        assert np.array_equal(mask, before[1])


def test_views_are_scored_as_copies() -> None:
    """Crops, mirrored and transposed arrays share memory that is not contiguous."""
    for prediction, mask in cases("blob", 5):
        for view in (np.s_[::-1], np.s_[:, ::-1], np.s_[1:-1, 2:]):
            of_view = measure(prediction[view], mask[view], Protocol())
            of_copy = measure(prediction[view].copy(), mask[view].copy(), Protocol())
            assert of_view.scores == of_copy.scores
        assert (
            measure(prediction.T, mask.T, Protocol()).scores
            == measure(prediction.T.copy(), mask.T.copy(), Protocol()).scores
        )
