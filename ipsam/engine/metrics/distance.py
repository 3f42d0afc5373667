"""Distances to the foreground and its nearest pixels, as ``scipy.ndimage.distance_transform_edt`` gives them.

OpenCV's exact transform takes scipy's place; its variant that also returns the nearest pixel silently falls back on an
approximation (errors of 1e-3), so near the foreground that pixel is looked up here.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]
NEAR = 3  # pixels, along rows and columns: as far as a 7 x 7 filter at a foreground pixel sees
SATURATED = 65535  # largest squared distance told apart


def squared_distance(foreground: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Squared distance of each pixel (h, w) to the nearest foreground pixel, an exact integer up to 65535."""
    distance = cv2.distanceTransform(1 - foreground, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    squared: NDArray[np.uint16] = cv2.multiply(distance, distance, dtype=cv2.CV_16U)  # rounds, and saturates
    return squared


def nearest_foreground(foreground: NDArray[np.uint8], squared: NDArray[np.uint16]) -> tuple[Index, Index]:
    """The background pixels near the foreground, and the foreground pixel nearest to each.

    Of several as near it is the one in the smallest column, then in the smallest row, as with scipy.

    Args:
        foreground: (h, w) of 0 and 1.
        squared: its ``squared_distance``.

    Returns:
        Flat indices into (h, w): background pixels with foreground within a square of 7 x 7, and their nearest.
    """
    width = foreground.shape[1]
    near = cv2.dilate(foreground, np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8)) != foreground
    targets = np.flatnonzero(near)
    by_distance = np.argsort(squared.ravel()[targets], kind="stable")
    targets = targets[by_distance]
    distances = squared.ravel()[targets]
    sources = np.empty_like(targets)
    border = NEAR + 1  # the nearest pixel may lie 4 away, where the one in the corner of the square is farther
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
    """Offsets (dy, dx) by squared length, those of one length in scipy's order."""
    by_length: dict[int, list[tuple[int, int]]] = {}
    reach = range(-NEAR - 1, NEAR + 2)
    for dx in reach:
        for dy in reach:
            if 0 < dx**2 + dy**2 <= 2 * NEAR**2:
                by_length.setdefault(dx**2 + dy**2, []).append((dy, dx))
    return by_length


_OFFSETS = _offsets()
