from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.metric_cases import Map, cases

from ipsam.engine.metrics import METRICS, PRESETS, Protocol, measure


def case() -> tuple[Map, Map]:
    return next(cases("blob", 1))


def test_default_is_that_of_pysodmetrics() -> None:
    assert Protocol.of("default") == Protocol.of({}) == Protocol()
    assert str(Protocol()) == (
        "protocol default: 8-bit, at the ground truth's size, min-max of each image, ground truth > 128, "
        "Fw with beta^2 = 1"
    )


def test_protocol_describes_itself() -> None:
    described = Protocol.of({"min_max": False}).describe()
    assert described["name"] == "min_max=false"
    assert described["min_max"] is False
    assert [Protocol.of(name).describe()["name"] for name in PRESETS] == list(PRESETS)
    words = " ".join(map(str, [*described, *described.values()]))
    assert all(name in words for name in METRICS)


def test_options_equal_to_a_preset_have_its_name() -> None:
    assert Protocol.of({"size": 1024, "binarise": True, "fw_beta2": 0.3}).name == "sam2_adapter"
    assert Protocol.of({"eight_bit": False}).name == "float"
    assert Protocol.of({"size": 9, "fw_beta2": 0.5}).name == "size=9+fw_beta2=0.5"
    assert Protocol.of(Protocol(size=7)) == Protocol(size=7)
    assert "at 7 x 7" in str(Protocol(size=7))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sam", "unknown protocol 'sam': choose default, float, sam2_adapter, or give options such as"),
        ({"minmax": True}, "protocol.minmax: unknown key; did you mean protocol.min_max"),
        ({"min_max": 1}, "protocol.min_max must be true or false, not 1"),
        ({"gt_threshold": 255}, "protocol.gt_threshold must be a whole number from 0 to 254, not 255"),
        ({"size": 1}, "protocol.size must be a whole number of at least 2, or null, not 1"),
        ({"fw_beta2": 0}, "protocol.fw_beta2 must be a number above 0, not 0"),
        (7, "protocol is one of default, float, sam2_adapter, or options"),
    ],
)
def test_impossible_options_are_named(spec: object, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.").replace("[", r"\[")):
        Protocol.of(spec)  # type: ignore[arg-type]


def test_binarised_predictions_have_two_levels() -> None:
    prediction, mask = case()
    expected = measure((prediction > 127).astype(np.uint8) * np.uint8(255), mask, Protocol())
    for protocol in (Protocol(binarise=True), Protocol(binarise=True, eight_bit=False)):
        scores = measure(prediction, mask, protocol).scores
        assert scores == pytest.approx(expected.scores, abs=1e-12)


def test_at_another_size_both_are_resized() -> None:
    prediction, mask = case()
    expected = measure(
        cv2.resize(prediction, (50, 50), interpolation=cv2.INTER_LINEAR),
        np.array(Image.fromarray(mask).resize((50, 50), Image.Resampling.NEAREST)),
        Protocol(),
    )
    assert measure(prediction, mask, Protocol(size=50)).scores == expected.scores
    assert Protocol(size=50).shape(mask) == (50, 50)
    assert Protocol().shape(mask) == mask.shape


def ellipse(height: int, width: int) -> Map:
    y, x = np.mgrid[:height, :width]
    inside = ((2 * y - height) * 5 * width) ** 2 + ((3 * x - width) * 4 * height) ** 2 < (4 * width * height) ** 2
    return inside.astype(np.uint8) * np.uint8(255)


# By the code of SAM2-Adapter (github.com/tianrun-chen/SAM-Adapter-PyTorch, SAM2-Adapter-for-Segment-Anything-2, at
# db7ee31): its classes in sod_metric.py, as utils.calc_cod calls them, on what test.py and datasets/wrappers.py make of
# a map and a mask: pred = map / 255, pred[pred > 0.5] = 1, pred[pred < 0.5] = 0, and for the mask Pillow's
# Image.open(file).convert("L").resize((1024, 1024), Image.NEAREST) / 255; both times 255.
SAM2_ADAPTER = {
    (97, 233): {"fw": 0.987835781, "sm": 0.963241437, "em": 0.985824481, "mae": 0.01126194},
    (300, 451): {"fw": 0.992891937, "sm": 0.967300687, "em": 0.986930537, "mae": 0.010056496},
    (1500, 1100): {"fw": 0.997347529, "sm": 0.981758185, "em": 0.992654478, "mae": 0.004403114},
}


@pytest.mark.parametrize("size", SAM2_ADAPTER, ids=str)
def test_sam2_adapter_gives_the_scores_of_its_own_code(size: tuple[int, int]) -> None:
    grain = np.random.default_rng(size[0]).integers(0, 128, (16, 16), dtype=np.uint8)
    prediction = ellipse(1024, 1024) // 2 + np.kron(grain, np.ones((64, 64), np.uint8))
    scores = measure(prediction, ellipse(*size), PRESETS["sam2_adapter"]).scores
    expected = SAM2_ADAPTER[size]
    assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=0, abs=1e-6)


def test_float_predictions_are_rounded_by_default() -> None:
    prediction, mask = case()
    jitter = np.random.default_rng(0).uniform(-0.49, 0.49, prediction.shape)
    values = np.clip((prediction + jitter) / 255, 0, 1)
    assert measure(values, mask, Protocol()).scores == measure(prediction, mask, Protocol()).scores
    assert measure(values.astype(np.float32), mask, Protocol()).scores == measure(prediction, mask, Protocol()).scores
    assert measure(values, mask, Protocol(eight_bit=False)).scores != measure(prediction, mask, Protocol()).scores


def test_mask_threshold() -> None:
    prediction = np.array([[255, 255, 0], [0, 0, 0]], np.uint8)
    for level, threshold, dice in ((60, 30, 1), (60, 128, 0), (128, 128, 0), (129, 128, 1)):
        mask = prediction // 255 * np.uint8(level)
        assert measure(prediction, mask, Protocol(gt_threshold=threshold)).scores["dice_50"] == dice


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (np.full((4, 5), np.nan), "must lie in \\[0, 1\\], but it ranges from nan to nan"),
        (np.full((4, 5), 0.5) + np.eye(4, 5), "ranges from 0.5 to 1.5"),
        (np.full((4, 5), -1e-9, np.float32), "ranges from -"),
        (np.zeros((4, 5), np.uint16), "uint8 or floating point, not uint16"),
        (np.zeros((4, 5), bool), "uint8 or floating point, not bool"),
        (
            np.zeros((4, 5, 3), np.uint8),
            "must have two dimensions, both above 0, not the shape \\(4, 5, 3\\)",
        ),
        (np.zeros((0, 5), np.uint8), "not the shape \\(0, 5\\)"),
    ],
    ids=["NaN", "above 1", "below 0", "16 bits", "bool", "colour", "empty"],
)
def test_invalid_prediction_is_refused(prediction: NDArray[Any], message: str) -> None:
    for protocol in PRESETS.values():
        with pytest.raises(ValueError, match=message):
            measure(prediction, np.zeros(prediction.shape[:2], np.uint8), protocol)


@pytest.mark.usefixtures("untyped")
def test_invalid_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="a mask must be uint8, not bool"):
        measure(np.zeros((4, 5), np.uint8), np.zeros((4, 5), bool), Protocol())
