"""Second look at a small object: find it, crop the image around it, predict the crop, paste the result."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.engine.inference.prediction import Prediction, Probabilities

GRID = 512  # pixels of the longer side of the map in which the object is located
SPECK = 0.05  # share of the largest part's area below which a part is left out
MARGIN = 0.3  # share of the object's longer side, on each side of it
LARGEST = 0.65  # share of the image above which a crop would show little more
AGREEMENT = 0.3  # intersection over union of both looks' masks below which the first one stands

Box = tuple[slice, slice]


def look_again(
    predictions: Sequence[Prediction], predict: Callable[[list[NDArray[np.uint8]]], Sequence[Prediction]]
) -> list[Prediction]:
    """Predict the small objects of some images again, from crops around them.

    An image without an object, and one that it fills, stay as they are; so does one where the second look finds
    another object. Prompts and gate remain those of the first look.
    """
    boxes = [crop_box(prediction.mask) for prediction in predictions]
    crops = [one.image[box] for one, box in zip(predictions, boxes, strict=True) if box is not None]
    again = iter(predict(crops) if crops else ())
    return [
        first if box is None else _pasted(first, box, next(again))
        for first, box in zip(predictions, boxes, strict=True)
    ]


def crop_box(mask: NDArray[np.bool_]) -> Box | None:
    """Return rows and columns of the crop around an object; None without one, and if it would show little more."""
    height, width = mask.shape
    scale = max(1, max(height, width) / GRID)
    size = (max(1, round(width / scale)), max(1, round(height / scale)))
    small = cv2.resize(mask.astype(np.uint8) * np.uint8(255), size, interpolation=cv2.INTER_AREA) > 0
    _, _, parts, _ = cv2.connectedComponentsWithStats(small.astype(np.uint8))
    areas = parts[1:, cv2.CC_STAT_AREA]
    if not areas.size:
        return None
    parts = parts[1:][areas >= SPECK * areas.max()]
    begin = parts[:, :2].min(axis=0)  # x, y
    end = (parts[:, :2] + parts[:, 2:4]).max(axis=0)
    extra = MARGIN * (end - begin).max()
    left, top = np.floor((begin - extra).clip(0) * scale).astype(int).tolist()
    right, bottom = np.ceil((end + extra) * scale).astype(int).tolist()
    right, bottom = min(right, width), min(bottom, height)
    if (right - left) * (bottom - top) > LARGEST * width * height:
        return None
    return slice(top, bottom), slice(left, right)


def _pasted(first: Prediction, box: Box, second: Prediction) -> Prediction:
    """Paste the second look into the first; the crop's border fades from the one to the other."""
    before, after = first.mask[box], second.mask
    if (before & after).sum() < AGREEMENT * (before | after).sum():
        return first
    prob = first.prob.copy()
    weight = np.minimum.outer(*(_ramp(span, length) for span, length in zip(box, prob.shape, strict=True)))
    prob[box] += weight * (second.prob - prob[box])
    return replace(first, prob=prob)


def _ramp(span: slice, length: int) -> Probabilities:
    """Return weights from 0 at a crop's ends to 1 within half its margin; 1 where it ends with the image."""
    num = span.stop - span.start
    distance = np.arange(num, dtype=np.float32) + 1
    width = max(1.0, num * MARGIN / (1 + 2 * MARGIN) / 2)
    begin = distance / width if span.start > 0 else np.ones_like(distance)
    end = distance[::-1] / width if span.stop < length else np.ones_like(distance)
    return np.minimum(begin, end).clip(0, 1)
