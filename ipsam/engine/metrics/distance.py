"""Distance to the foreground and its nearest pixels, equal to ``scipy.ndimage.distance_transform_edt``.

OpenCV's exact transform gives the distances, faster than scipy. Its variant with nearest pixels silently uses an
approximation (errors of 1e-3), so nearest pixels close to the foreground are searched here.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

NEAR = 3  # pixels along rows and columns, the reach of a 7 x 7 filter
SATURATED = 65535  # largest squared distance
_SQUARE = np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)
_BORDER = NEAR + 1  # a pixel 4 columns away may be nearer than the corner of the square


def squared_distance(foreground: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Compute the exact squared distance (h, w) of each pixel to the nearest foreground pixel, at most 65535."""
    with_ipp = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)  # a fifth slower, and its last bits vary
    try:
        distance = cv2.distanceTransform(1 - foreground, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    finally:
        cv2.ipp.setUseIPP(with_ipp)
    squared: NDArray[np.uint16] = cv2.multiply(distance, distance, dtype=cv2.CV_16U)  # rounds, and saturates
    return squared


def spread_to_background(
    values: NDArray[Any], foreground: NDArray[np.uint8], squared: NDArray[np.uint16]
) -> NDArray[Any]:
    """Copy each foreground pixel's value to the background pixels that it is the nearest one of.

    Ties go to the smallest column, then to the smallest row, as in scipy. Only the 7 x 7 squares around foreground
    pixels whose value is not 0 are complete.

    Args:
        values: (h, w), 0 on the background.
        foreground: (h, w) of 0 and 1.
        squared: ``squared_distance(foreground)``.
    """
    wanted = cv2.dilate((values != 0).view(np.uint8), _SQUARE) > foreground
    distances = squared[wanted]
    targets = np.flatnonzero(_with_border(wanted.view(np.uint8)).view(np.bool_))
    is_foreground, sources = _with_border(foreground).view(np.bool_), _with_border(values)
    spread: NDArray[Any] = sources.copy()
    width = sources.shape[1]
    for dy, dx in _OFFSETS:
        nearest = targets + (dy * width + dx)[distances]
        hit = is_foreground.ravel()[nearest]
        spread.ravel()[targets[hit]] = sources.ravel()[nearest[hit]]
        targets, distances = targets[~hit], distances[~hit]
    return spread[_BORDER:-_BORDER, _BORDER:-_BORDER]


def _with_border(pixels: NDArray[Any]) -> NDArray[Any]:
    wider: NDArray[Any] = cv2.copyMakeBorder(pixels, _BORDER, _BORDER, _BORDER, _BORDER, cv2.BORDER_CONSTANT, value=0)
    return wider


def _offsets() -> NDArray[np.intp]:
    """List offsets (8, 2, 19) as (dy, dx) for each squared length: in scipy's order, then zeros."""
    number = [0] * (2 * NEAR**2 + 1)
    offsets = np.zeros((8, 2, len(number)), np.intp)
    reach = range(-_BORDER, _BORDER + 1)
    for dx in reach:
        for dy in reach:
            if 0 < (length := dx**2 + dy**2) < len(number):
                offsets[number[length], :, length] = dy, dx
                number[length] += 1
    return offsets


_OFFSETS = _offsets()
