"""Predictions with masks: the shapes, sizes and coincidences that metrics stumble over."""

from collections.abc import Iterator

import cv2
import numpy as np
import py_sod_metrics as reference
from numpy.typing import NDArray

Map = NDArray[np.uint8]
KINDS = (
    *("blob", "noise", "empty", "full", "constant", "pixel", "border", "thin", "tie", "two levels", "sharp", "gap"),
    *("all but a pixel", "lines", "perfect"),
)
EPS = np.spacing(1)
SIZES = ((23, 31), (40, 24), (16, 16), (57, 9), (7, 64), (33, 33))


def cases(kind: str, number: int) -> Iterator[tuple[Map, Map]]:
    """The first ``number`` cases of a kind."""
    for index in range(number):
        rng = np.random.default_rng((KINDS.index(kind), index))
        yield _case(kind, rng)


def _blob(rng: np.random.Generator, shape: tuple[int, int]) -> Map:
    y, x = np.mgrid[: shape[0], : shape[1]]
    centre, radii = rng.uniform(0, 1, 2) * shape, rng.uniform(0.05, 0.5, 2) * shape + 0.5
    return ((((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2) < 1).astype(np.uint8) * np.uint8(
        255
    )


def _soft(rng: np.random.Generator, mask: Map) -> Map:
    """A prediction of a mask as a network makes it: displaced, blurred, noisy, of any contrast."""
    moved = np.roll(mask, rng.integers(-4, 5, 2), (0, 1)).astype(np.float64)
    soft = cv2.GaussianBlur(moved, (0, 0), float(rng.uniform(0.3, 4))) + rng.normal(
        0, rng.choice([0, 3, 30]), mask.shape
    )
    return (np.clip(soft, 0, 255) * rng.uniform(0.1, 1) + rng.choice([0, 0, 20])).clip(0, 255).astype(np.uint8)


def _case(kind: str, rng: np.random.Generator) -> tuple[Map, Map]:
    shape = SIZES[rng.integers(len(SIZES))]
    if kind == "thin":
        shape = [(1, int(rng.integers(1, 40))), (int(rng.integers(1, 40)), 1)][rng.integers(2)]
    mask = _blob(rng, shape)
    noise = rng.integers(0, 256, shape, dtype=np.uint8)
    prediction = _soft(rng, mask)
    if kind == "noise":
        prediction = noise
    elif kind == "empty":
        mask = np.zeros(shape, np.uint8)
    elif kind == "full":
        mask = np.full(shape, 255, np.uint8)
    elif kind == "constant":
        prediction = np.full(shape, rng.integers(256), np.uint8)
        mask = [mask, np.zeros_like(mask), np.full_like(mask, 255)][rng.integers(3)]
    elif kind == "pixel":
        mask = np.zeros(shape, np.uint8)
        mask[rng.integers(shape[0]), rng.integers(shape[1])] = 255
        prediction = [_soft(rng, mask), noise, prediction][rng.integers(3)]
    elif kind == "border":
        mask = np.zeros(shape, np.uint8)
        mask[
            [slice(0, 3), slice(-3, None), slice(None), slice(None)][rng.integers(4)],
            [slice(None), slice(0, 2), slice(-2, None), slice(3, 9)][rng.integers(4)],
        ] = 255
        prediction = _soft(rng, mask)
    elif kind == "thin":
        mask = (rng.random(shape) < 0.4).astype(np.uint8) * np.uint8(255)
        prediction = noise if rng.integers(2) else mask
    elif kind == "tie":  # twice the mean is exactly a level that occurs
        half = rng.integers(1, 100)
        prediction = np.where(np.arange(noise.size).reshape(shape) % 2, 2 * half, 0).astype(np.uint8)
        prediction[rng.random(shape) < 0.3] = half
        prediction.ravel()[:2] = 0, 255
    elif kind == "two levels":
        prediction = np.where(noise > rng.integers(1, 255), rng.integers(256), rng.integers(256)).astype(np.uint8)
    elif kind == "sharp":
        prediction = np.roll(mask, rng.integers(-3, 4, 2), (0, 1))
    elif kind == "gap":
        mask = np.maximum(mask, _blob(rng, shape)) * (noise > 40)
    elif kind == "all but a pixel":
        mask = np.full(shape, 255, np.uint8)
        mask[rng.integers(shape[0]), rng.integers(shape[1])] = 0
    elif kind == "lines":
        mask = np.zeros(shape, np.uint8)
        mask[:: rng.integers(2, 9)] = 255
        mask[:, rng.integers(shape[1])] = 255
    elif kind == "perfect":
        prediction = mask
    return prediction, np.ascontiguousarray(mask)


def by_reference(prediction: Map, mask: Map) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Scores and curves of an image by PySODMetrics, called as its own examples do."""
    return _reference(prediction, mask, normalize=True)


def by_reference_without_normalisation(
    prediction: NDArray[np.float64], mask: Map
) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """The same of a prediction in [0, 1] as it is."""
    return _reference(prediction, mask > 128, normalize=False)


def _reference(prediction, mask, normalize):  # type: ignore[no-untyped-def]
    both = {"with_dynamic": True, "with_adaptive": False, "with_binary": True}
    mae, fw, sm, em = reference.MAE(), reference.WeightedFmeasure(beta=1), reference.Smeasure(), reference.Emeasure()
    handlers = {
        "f": reference.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3),
        "dice": reference.DICEHandler(**both),
        "iou": reference.IOUHandler(**both),
        "precision": reference.PrecisionHandler(with_dynamic=True, with_adaptive=False),
        "recall": reference.RecallHandler(with_dynamic=True, with_adaptive=False),
    }
    metrics = (mae, fw, sm, em, reference.FmeasureV2(handlers))
    for metric in metrics:
        metric.step(prediction, mask, normalize=normalize)
    if mask.size == 1:  # the documented difference: no division by eps
        em.changeable_ems[0], em.adaptive_ems[0] = em.changeable_ems[0] * EPS, em.adaptive_ems[0] * EPS
    curves = {name: handler.dynamic_results[0] for name, handler in handlers.items()} | {"em": em.changeable_ems[0]}
    scores = {
        "mae": mae.maes[0],
        "fw": fw.weighted_fms[0],
        "sm": sm.sms[0],
        "em": curves["em"].mean(),
        "em_adp": em.adaptive_ems[0],
        "em_max": curves["em"].max(),
        "f": curves["f"].mean(),
        "f_adp": handlers["f"].adaptive_results[0],
        "f_max": curves["f"].max(),
        "mdice": curves["dice"].mean(),
        "miou": curves["iou"].mean(),
        "dice_50": handlers["dice"].binary_results[0],
        "iou_50": handlers["iou"].binary_results[0],
    }
    return {name: float(score) for name, score in scores.items()}, curves
