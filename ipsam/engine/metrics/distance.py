"""Distance to the foreground and its nearest pixels, equal to ``scipy.ndimage.distance_transform_edt``.

OpenCV's exact transform gives the distances, faster than scipy. Its variant with nearest pixels silently uses an
approximation (errors of 1e-3), so nearest pixels close to the foreground are searched here.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]
NEAR = 3  # pixels along rows and columns, the reach of a 7 x 7 filter
SATURATED = 65535  # largest squared distance


def squared_distance(foreground: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Compute the exact squared distance (h, w) of each pixel to the nearest foreground pixel, at most 65535."""
    distance = cv2.distanceTransform(1 - foreground, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    squared: NDArray[np.uint16] = cv2.multiply(distance, distance, dtype=cv2.CV_16U)  # rounds, and saturates
    return squared


def nearest_foreground(foreground: NDArray[np.uint8], squared: NDArray[np.uint16]) -> tuple[Index, Index]:
    """Find the nearest foreground pixel of each background pixel that has foreground within its 7 x 7 square.

    Ties go to the smallest column, then to the smallest row, as in scipy.

    Args:
        foreground: (h, w) of 0 and 1.
        squared: ``squared_distance(foreground)``.

    Returns:
        Flat indices into (h, w) of the background pixels and of their nearest foreground pixels.
    """
    width = foreground.shape[1]
    near = cv2.dilate(foreground, np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)) != foreground
    targets = np.flatnonzero(near)
    by_distance = np.argsort(squared.ravel()[targets], kind="stable")
    targets = targets[by_distance]
    distances = squared.ravel()[targets]
    sources = np.empty_like(targets)
    border = NEAR + 1  # a pixel 4 columns away may be nearer than the corner of the square
    padded_width = width + 2 * border
    padded = np.pad(foreground, border).ravel().view(np.bool_)
    in_padded = targets + targets // width * (2 * border) + border * padded_width + border
    for distance, offsets in _OFFSETS.items():
        open_ = np.arange(*np.searchsorted(distances, (distance, distance + 1)))
        for dy, dx in offsets:
            if not open_.size:
                break
            hit = padded[in_padded[open_] + (dy * padded_width + dx)]
            found = open_[hit]
            sources[found] = targets[found] + (dy * width + dx)
            open_ = open_[~hit]
    return targets, sources


def _offsets() -> dict[int, list[tuple[int, int]]]:
    """List offsets (dy, dx) by squared length, in scipy's order within a length."""
    by_length: dict[int, list[tuple[int, int]]] = {}
    reach = range(-NEAR - 1, NEAR + 2)
    for dx in reach:
        for dy in reach:
            if 0 < dx**2 + dy**2 <= 2 * NEAR**2:
                by_length.setdefault(dx**2 + dy**2, []).append((dy, dx))
    return by_length


_OFFSETS = _offsets()
