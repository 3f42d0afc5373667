import math
from collections.abc import Sequence

import numpy as np
import pytest
from support.metric_cases import Map, cases

from ipsam.engine.metrics import CURVES, METRICS, CurveSum, ImageScores, Protocol, means, measure


def ellipse(height: int = 40, width: int = 56) -> Map:
    y, x = np.mgrid[:height, :width]
    return (((y - 18) / 9) ** 2 + ((x - 30) / 14) ** 2 < 1).astype(np.uint8) * np.uint8(255)


def averaged(images: Sequence[ImageScores]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Average the images in two parts, as two processes do."""
    total, other = CurveSum(), CurveSum()
    for index, image in enumerate(images):
        (other if index % 3 else total).add(image.curves)
    total += other
    return means({name: [image.scores[name] for image in images] for name in METRICS}, total)


def images() -> list[ImageScores]:
    return [measure(*case, Protocol()) for kind in ("blob", "noise", "gap") for case in cases(kind, 20)]


def test_plain_metrics_by_hand() -> None:
    prediction, mask = np.array([[255, 255], [0, 0]], np.uint8), np.array([[255, 0], [0, 0]], np.uint8)
    scores = measure(prediction, mask, Protocol()).scores
    assert scores["mae"] == pytest.approx(1 / 4)
    assert scores["dice_50"] == pytest.approx(2 / 3)
    assert scores["iou_50"] == pytest.approx(1 / 2)
    assert scores["f_adp"] == pytest.approx(1.3 * 0.5 * 1 / (0.3 * 0.5 + 1))


def test_peaks_are_those_of_the_mean_curve() -> None:
    """Two images with their best thresholds far apart: the mean of maxima would be larger."""
    mask = ellipse()
    low, high = np.where(mask > 0, 60, 0), np.where(mask > 0, 255, 200)
    low[0, 0], high[0, 0] = 255, 0  # so that min-max normalisation leaves both as they are
    each = [measure(prediction.astype(np.uint8), mask, Protocol()) for prediction in (low, high)]
    results, _ = averaged(each)
    assert results["em_max"] < np.mean([image.scores["em_max"] for image in each]) - 0.1
    assert results["f_max"] < np.mean([image.scores["f_max"] for image in each]) - 0.1
    for name in results.keys() - {"em_max", "f_max"}:  # all others are plain means over the images
        assert results[name] == pytest.approx(np.mean([image.scores[name] for image in each]))


def test_means_do_not_depend_on_the_order() -> None:
    in_order = images()
    expected, curves = averaged(in_order)
    assert tuple(expected) == tuple(METRICS)
    assert tuple(curves) == CURVES
    for number, name in enumerate(CURVES):  # rounded once, and divided
        columns = np.stack([image.curves[number] for image in in_order]).T
        assert curves[name].tolist() == [math.fsum(column) / len(in_order) for column in columns]
    for seed in range(5):
        shuffled = [in_order[index] for index in np.random.default_rng(seed).permutation(len(in_order))]
        scores, shuffled_curves = averaged(shuffled)
        assert scores == expected
        assert all(np.array_equal(shuffled_curves[name], curves[name]) for name in CURVES)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 3), (20, 50)])
@pytest.mark.parametrize("level", [0, 255])
def test_e_measure_of_small_perfect_maps(size: tuple[int, int], level: int) -> None:
    """n / (n - 1) as in the reference, and 1 for a single pixel, where the reference has 4.5e15."""
    mask, num = np.full(size, level, np.uint8), size[0] * size[1]
    scores = measure(mask, mask, Protocol(min_max=False)).scores
    assert scores["em_max"] == pytest.approx(num / (num - 1) if num > 1 else 1)
    wrong = measure(255 - mask, mask, Protocol(min_max=False)).scores["em"]
    assert 0 <= wrong < 0.01 * scores["em_max"]
