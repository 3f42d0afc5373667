import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from ipsam.engine.metrics.distance import NEAR, nearest_foreground, squared_distance


def foregrounds() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    sparse = [(rng.random((31, 47)) < density).astype(np.uint8) for density in (0.003, 0.02, 0.1, 0.5, 0.95)]
    lattice = np.zeros((40, 40), np.uint8)
    lattice[::6, ::6] = 1  # every tie there can be
    corner = np.zeros((9, 300), np.uint8)
    corner[0, 0] = 1
    return [*(part for part in sparse if part.any()), lattice, corner, np.eye(20, dtype=np.uint8)]


@pytest.mark.parametrize("index", range(len(foregrounds())))
def test_distances_are_scipys(index: int) -> None:
    foreground = foregrounds()[index]
    expected = np.rint(distance_transform_edt(foreground == 0) ** 2)
    assert np.array_equal(squared_distance(foreground), np.minimum(expected, 65535))


@pytest.mark.parametrize("index", range(len(foregrounds())))
def test_nearest_pixels_are_scipys(index: int) -> None:
    foreground = foregrounds()[index]
    targets, sources = nearest_foreground(foreground, squared_distance(foreground))
    near = cv2.dilate(foreground, np.ones((2 * NEAR + 1,) * 2, np.uint8)) > foreground
    assert np.array_equal(np.sort(targets), np.flatnonzero(near))
    _, (rows, columns) = distance_transform_edt(foreground == 0, return_indices=True)
    assert np.array_equal(sources, (rows * foreground.shape[1] + columns).ravel()[targets])
