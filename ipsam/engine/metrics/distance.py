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
BORDER = NEAR + 1  # a pixel 4 columns away may be nearer than the corner of the square


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


def nearest_foreground(
    foreground: NDArray[np.uint8], squared: NDArray[np.uint16]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the nearest foreground pixel of each background pixel in the 7 x 7 squares around foreground pixels.

    Ties go to the smallest column, then to the smallest row, as in scipy.

    Args:
        foreground: (h, w) of 0 and 1.
        squared: ``squared_distance(foreground)``.

    Returns:
        Flat indices of the background pixels, and of the nearest to each, in ``with_border(foreground)``.
    """
    at = np.flatnonzero(cv2.dilate(foreground, _SQUARE) > foreground)
    bordered, width = with_border(foreground), foreground.shape[1]
    is_foreground, wide = bordered.view(np.bool_).ravel(), bordered.shape[1]
    targets, distances = at + at // width * (wide - width) + BORDER * (wide + 1), squared.take(at).astype(np.intp)
    found = []
    for dy, dx in _OFFSETS:
        nearest = targets + (dy * wide + dx).take(distances)
        hit = is_foreground.take(nearest)
        found.append((targets[hit], nearest[hit]))
        others = np.flatnonzero(~hit)
        targets, distances = targets.take(others), distances.take(others)
    backgrounds, foregrounds = zip(*found, strict=True)
    return np.concatenate(backgrounds), np.concatenate(foregrounds)


def with_border(pixels: NDArray[Any]) -> NDArray[Any]:
    """Add a border of zeros, ``BORDER`` pixels wide."""
    wider: NDArray[Any] = cv2.copyMakeBorder(pixels, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_CONSTANT, value=0)
    return wider


def _offsets() -> NDArray[np.intp]:
    """List offsets (8, 2, 19) as (dy, dx) for each squared length: in scipy's order, then zeros."""
    number = [0] * (2 * NEAR**2 + 1)
    offsets = np.zeros((8, 2, len(number)), np.intp)
    reach = range(-BORDER, BORDER + 1)
    for dx in reach:
        for dy in reach:
            if 0 < (length := dx**2 + dy**2) < len(number):
                offsets[number[length], :, length] = dy, dx
                number[length] += 1
    return offsets


_OFFSETS = _offsets()
