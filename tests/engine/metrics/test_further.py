"""Metrics that are scored where they are asked for."""

import sys
from typing import Any

import cv2
import numpy as np
import py_sod_metrics as reference
import pytest
from scipy.ndimage import binary_erosion
from support.metric_cases import Map, cases

from ipsam.engine.metrics import FURTHER, METRICS, Protocol, measure

pytestmark = pytest.mark.filterwarnings("ignore:`trapz` is deprecated", "ignore:invalid value", "ignore:divide by zero")
PROTOCOL = Protocol.of("default", list(FURTHER))
QUICK = Protocol.of("default", ["biou_50", "object_recall", "si_mae", "si_f", "si_f_adp"])


def objects() -> tuple[Map, Map]:
    """Objects of 4 x 4, 8 x 9 and 20 x 30 pixels, of which a prediction finds all, half and a quarter."""
    mask, prediction = np.zeros((64, 90), np.uint8), np.zeros((64, 90), np.uint8)
    mask[2:6, 2:6] = mask[10:18, 60:69] = mask[30:50, 20:50] = 255
    prediction[2:6, 2:6] = prediction[10:14, 60:69] = prediction[30:35, 20:50] = 255
    return prediction, mask


def by_reference(prediction: Map, mask: Map) -> dict[str, float]:
    f = reference.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3)
    metrics: dict[str, Any] = {
        "si_mae": reference.SizeInvarianceMAE(),
        "f": reference.SizeInvarianceFmeasureV2({"f": f}),
        "cm": reference.ContextMeasure(),
        "hce": reference.HumanCorrectionEffortMeasure(),
        "msiou": reference.MSIoU(True, True, with_binary=True),
    }
    for metric in metrics.values():
        metric.step(prediction, mask)
    results = {name: metric.get_results() for name, metric in metrics.items()}
    msiou = results["msiou"]
    return {
        "si_mae": results["si_mae"]["si_mae"],
        "si_f": f.dynamic_results[0].mean(),
        "si_f_adp": f.adaptive_results[0],
        "cm": results["cm"]["cm"],
        "hce": results["hce"]["hce"],
        "msiou": msiou["dynamic"].mean(),
        "msiou_adp": msiou["adaptive"],
        "msiou_50": msiou["binary"],
    }


@pytest.mark.parametrize("kind", ["blob", "sharp", "gap", "perfect", "empty", "objects"])
def test_scores_are_those_of_pysodmetrics(kind: str) -> None:
    for prediction, mask in [objects()] if kind == "objects" else cases(kind, 1):
        expected = by_reference(prediction, mask)
        scores = measure(prediction, mask, PROTOCOL).scores
        assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=0, abs=1e-9)
        assert [*scores] == [*METRICS, *FURTHER]


def test_size_invariant_scores_where_pysodmetrics_has_none() -> None:
    full = np.full((40, 40), 255, np.uint8)
    many = np.zeros((80, 800), np.uint8)
    for number in range(80):  # more than a float's bits
        many[10:20, 10 * number : 10 * number + 8] = 255
    for mask in (full, many):
        scores = measure(mask, mask, QUICK).scores
        assert scores["si_mae"] == 0
        assert scores["object_recall"] == scores["biou_50"] == 1


def test_objects_count_alike() -> None:
    assert measure(*objects(), QUICK).scores["object_recall"] == (1 / 2 + 1 / 4) / 2  # the smallest is a speck


def test_boundary_iou_is_that_of_cheng() -> None:
    for prediction, mask in cases("gap", 10):
        width = max(1, round(0.02 * float(np.hypot(*mask.shape))))
        normalised = prediction.astype(float) - prediction.min()
        masks = mask > 128, normalised / max(normalised.max(), 1) > 0.5
        square = np.ones((3, 3))
        one, other = (of & ~binary_erosion(of, square, iterations=width) for of in masks)
        union = (one | other).sum()
        expected = (one & other).sum() / union if union else 0
        assert measure(prediction, mask, QUICK).scores["biou_50"] == expected
    ring = cv2.circle(np.zeros((200, 200), np.uint8), (100, 100), 60, 255, 1)
    filled = cv2.circle(np.zeros((200, 200), np.uint8), (100, 100), 60, 255, -1)
    scores = measure(filled, ring, QUICK).scores
    assert scores["biou_50"] > 2 * scores["iou_50"]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("metrics", [["hcce"], "hce", [["hce"]]])
def test_impossible_choices_are_named(metrics: Any) -> None:
    with pytest.raises(ValueError, match=r"metrics must be a list of some of biou_50, .*hce.*, not .*hc?ce"):
        Protocol.of("default", metrics)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py_sod_metrics", None)
    assert Protocol.of("default", ["biou_50", "mae"]).metrics.keys() == METRICS.keys() | {"biou_50"}
    with pytest.raises(ValueError, match=r"metrics=\[hce\] needs .*pip install -e '\.\[metrics\]'"):
        Protocol.of("default", ["hce"])


def test_a_mask_without_context_is_named() -> None:
    mask = np.eye(64, dtype=np.uint8) * np.uint8(255)
    with pytest.raises(ValueError, match=r"ContextMeasure has no value for a mask whose pixels lie on one line"):
        measure(mask, mask, Protocol.of("default", ["cm"]))
