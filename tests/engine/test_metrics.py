import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import py_sod_metrics as reference
import pytest
from numpy.typing import NDArray

from ipsam.data.images import read_mask
from ipsam.engine.metrics import METRICS, PROTOCOL, Metrics

Map = NDArray[np.uint8]
DATA = Path(os.environ.get("IPSAM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def ellipse(height: int = 40, width: int = 56) -> Map:
    y, x = np.mgrid[:height, :width]
    return (((y - 18) / 9) ** 2 + ((x - 30) / 14) ** 2 < 1).astype(np.uint8) * np.uint8(255)


def pairs() -> list[tuple[Map, Map]]:
    """Predictions with masks: good and bad ones, flat ones, and masks that are empty or full."""
    rng = np.random.default_rng(0)
    mask = ellipse()
    blurred = cv2.GaussianBlur(mask, (0, 0), 3)
    noise = rng.integers(0, 256, mask.shape, dtype=np.uint8)
    shifted = np.roll(blurred, 9, axis=1)
    two = np.maximum(mask, np.roll(mask, 20, axis=0))
    return [
        (blurred, mask),
        (noise, mask),
        (shifted, mask),
        ((blurred * 0.3 + 50).astype(np.uint8), mask),  # min-max normalisation has something to do
        (np.full_like(mask, 77), mask),
        (255 - blurred, two),
        (noise, np.zeros_like(mask)),
        (blurred, np.full_like(mask, 255)),
        (cv2.resize(noise, (31, 17)), cv2.resize(mask, (31, 17), interpolation=cv2.INTER_NEAREST)),
    ]


def of_reference(pairs: Sequence[tuple[Map, Map]]) -> dict[str, float]:
    """PySODMetrics called directly, as its own examples do, with the options that PROTOCOL states."""
    both = {"with_dynamic": True, "with_adaptive": False, "with_binary": True}
    mae, fw = reference.MAE(), reference.WeightedFmeasure(beta=1)
    sm, em = reference.Smeasure(alpha=0.5), reference.Emeasure()
    curves = reference.FmeasureV2(
        {
            "f": reference.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3),
            "dice": reference.DICEHandler(**both),
            "iou": reference.IOUHandler(**both),
        }
    )
    for prediction, mask in pairs:
        for metric in (mae, fw, sm, em, curves):
            metric.step(prediction, mask)
    em_result, result = em.get_results()["em"], curves.get_results()
    return {
        "mae": mae.get_results()["mae"],
        "fw": fw.get_results()["wfm"],
        "sm": sm.get_results()["sm"],
        "em": em_result["curve"].mean(),
        "em_adp": em_result["adp"],
        "em_max": em_result["curve"].max(),
        "f": result["f"]["dynamic"].mean(),
        "f_adp": result["f"]["adaptive"],
        "f_max": result["f"]["dynamic"].max(),
        "mdice": result["dice"]["dynamic"].mean(),
        "miou": result["iou"]["dynamic"].mean(),
        "dice_50": result["dice"]["binary"],
        "iou_50": result["iou"]["binary"],
    }


def test_a_set_scores_as_by_pysodmetrics() -> None:
    metrics = Metrics()
    for prediction, mask in pairs():
        metrics.step(prediction, mask)
    assert metrics.results() == of_reference(pairs())


@pytest.mark.parametrize("index", range(len(pairs())))
def test_an_image_scores_as_a_set_of_one(index: int) -> None:
    metrics, pair = Metrics(), pairs()[index]
    metrics.step(*pairs()[0])  # the scores of an image are its own, whatever came before
    assert metrics.step(*pair) == pytest.approx(of_reference([pair]))
    assert all(0 <= score <= 1 for score in metrics.results().values())


def test_plain_metrics_by_hand() -> None:
    prediction, mask = np.array([[255, 255], [0, 0]], np.uint8), np.array([[255, 0], [0, 0]], np.uint8)
    scores = Metrics().step(prediction, mask)
    assert scores["mae"] == pytest.approx(1 / 4)
    assert scores["dice_50"] == pytest.approx(2 / 3)
    assert scores["iou_50"] == pytest.approx(1 / 2)


def test_a_perfect_map() -> None:
    scores = Metrics().step(ellipse(), ellipse())
    assert scores.pop("mae") == 0
    # At threshold 0 everything is foreground, so that a mean over all 256 can't quite reach 1.
    thresholds = {name: scores.pop(name) for name in ("em", "f", "mdice", "miou")}
    assert all(0.99 < score <= 1 for score in thresholds.values())
    # The reference divides the E-measure by one pixel too few, so that on a small map it passes 1.
    assert scores == pytest.approx(dict.fromkeys(scores, 1.0), abs=1e-3)


def test_foreground_is_above_128() -> None:
    mask = np.where(ellipse() > 0, 129, 128).astype(np.uint8)
    assert Metrics().step(ellipse(), mask) == Metrics().step(ellipse(), ellipse())


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value", "ignore:divide by zero")
@pytest.mark.parametrize(
    ("rows", "columns"),
    [(slice(-1, None), slice(10, 20)), (slice(5, 30), slice(-1, None)), (slice(-1, None), slice(-1, None))],
    ids=["last row", "last column", "corner"],
)
def test_sm_is_finite_where_the_mask_hugs_the_border(rows: slice, columns: slice) -> None:
    """A quadrant without pixels weighs nothing: the limit of the reference's NaN is what a neighbour of it gives."""
    mask = np.zeros((40, 56), np.uint8)
    mask[rows, columns] = 255
    prediction = cv2.GaussianBlur(mask, (0, 0), 2)
    assert np.isnan(of_reference([(prediction, mask)])["sm"])
    score = Metrics().step(prediction, mask)["sm"]
    assert np.isfinite(score)
    # The same picture with a row and a column more, in which nothing is: close by.
    larger = [np.pad(part, ((0, 1), (0, 1))) for part in (prediction, mask)]
    assert score == pytest.approx(of_reference([(larger[0], larger[1])])["sm"], abs=0.1)


@pytest.mark.filterwarnings("error")
def test_sm_at_the_border_warns_of_nothing() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[-1] = 255
    assert Metrics().step(mask, mask)["sm"] == pytest.approx(1, abs=1e-6)


def test_maxima_are_of_the_mean_curve() -> None:
    """Two images with their best thresholds far apart: the mean of maxima would be larger."""
    mask = ellipse()
    low, high = np.where(mask > 0, 60, 0), np.where(mask > 0, 255, 200)
    low[0, 0], high[0, 0] = 255, 0  # so that min-max normalisation leaves both as they are
    metrics = Metrics()
    each = [metrics.step(prediction.astype(np.uint8), mask) for prediction in (low, high)]
    results = metrics.results()
    assert results["em_max"] < np.mean([scores["em_max"] for scores in each]) - 0.1
    assert results["f_max"] < np.mean([scores["f_max"] for scores in each]) - 0.1
    for name in results.keys() - {"em_max", "f_max"}:  # all others are plain means over the images
        assert results[name] == pytest.approx(np.mean([scores[name] for scores in each]))


def test_protocol_speaks_of_every_metric() -> None:
    words = " ".join([*PROTOCOL, *PROTOCOL.values()])
    assert all(name in words for name in METRICS)
    assert tuple(Metrics().step(ellipse(), ellipse())) == METRICS


@pytest.mark.data
def test_pranets_maps_score_as_its_paper_says() -> None:
    """PraNet (MICCAI 2020), table 1, CVC-ClinicDB: from its published maps of its 62 test images."""
    maps = DATA / "polyp" / "PredictionMaps" / "PraNet" / "CVC-ClinicDB"
    masks = DATA / "polyp" / "TestDataset" / "CVC-ClinicDB" / "masks"
    if not maps.is_dir() or not masks.is_dir():
        pytest.skip(f"no PraNet maps in {DATA}: set IPSAM_TEST_DATA")
    metrics = Metrics()
    paths = sorted(maps.iterdir())
    for path in paths:
        prediction = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        metrics.step(prediction, read_mask(masks / f"{path.stem}.png"))
    results = metrics.results()
    assert len(paths) == 62
    printed = {"mdice": 0.899, "miou": 0.849, "fw": 0.896, "sm": 0.936, "em_max": 0.979, "mae": 0.009}
    assert {name: round(results[name], 3) for name in printed} == printed
