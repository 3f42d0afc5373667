"""Camouflaged scenes: reproducible, with an object of sensible size that gets harder to see as difficulty grows."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ipsam.data.synthetic.scenes import Scene, camouflaged_scene
from ipsam.data.synthetic.textures import FAMILIES, Texture

SIZE = 64
NUM_SEEDS = 50


def scene(seed: int, difficulty: float, size: int = SIZE) -> Scene:
    return camouflaged_scene(np.random.default_rng(seed), size=size, difficulty=difficulty)


@pytest.fixture(scope="module")
def scenes() -> dict[float, list[Scene]]:
    return {level: [scene(seed, level) for seed in range(NUM_SEEDS)] for level in (0.0, 0.25, 0.5, 0.75, 1.0)}


def object_and_surroundings(drawn: Scene) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels (n, 3) of the object, and of a band around it that is a tenth of the image's side wide."""
    reach = len(drawn.mask) // 10
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    band = (cv2.dilate(drawn.mask, kernel) > 0) & (cv2.dilate(drawn.mask, np.ones((3, 3), np.uint8)) == 0)
    image = drawn.image.astype(float)
    return image[drawn.mask > 0], image[band]


def separability(drawn: Scene) -> float:
    """Area under the ROC curve of the best linear function of a pixel's colour; 0.5 is chance."""
    inside, around = object_and_surroundings(drawn)
    spread = np.cov(inside.T) + np.cov(around.T) + np.eye(3)
    weights = np.linalg.solve(spread, inside.mean(axis=0) - around.mean(axis=0))
    return float(np.mean((inside @ weights)[:, None] > (around @ weights)[None, :]))


@pytest.mark.parametrize("difficulty", [0.0, 0.6, 1.0])
def test_scene_depends_on_the_generators_state_alone(difficulty: float) -> None:
    rng = np.random.default_rng(3)
    one, advanced = (camouflaged_scene(rng, size=SIZE, difficulty=difficulty) for _ in range(2))
    same = scene(3, difficulty)
    np.testing.assert_array_equal(one.image, same.image)
    np.testing.assert_array_equal(one.mask, same.mask)
    for other in (advanced, scene(4, difficulty)):
        assert not np.array_equal(one.image, other.image)
        assert not np.array_equal(one.mask, other.mask)


def test_difficulty_moves_no_object(scenes: dict[float, list[Scene]]) -> None:
    for easy, hard in zip(scenes[0.0], scenes[1.0], strict=True):
        np.testing.assert_array_equal(easy.mask, hard.mask)


@pytest.mark.parametrize("size", [32, 65, 128, 300])
def test_shapes_and_values(size: int) -> None:
    drawn = scene(0, 0.5, size)
    assert drawn.image.shape == (size, size, 3)
    assert drawn.mask.shape == (size, size)
    assert drawn.image.dtype == drawn.mask.dtype == np.uint8
    assert set(np.unique(drawn.mask)) == {0, 255}
    assert drawn.image.std() > 5


def test_object_is_of_moderate_size(scenes: dict[float, list[Scene]]) -> None:
    shares = [np.mean(drawn.mask > 0) for drawn in scenes[0.5]]
    assert min(shares) > 0.025
    assert max(shares) < 0.37
    assert 0.08 < np.mean(shares) < 0.22


def test_sometimes_two_objects_sometimes_cut_by_the_border(scenes: dict[float, list[Scene]]) -> None:
    num_objects = []
    for drawn in scenes[0.5]:
        _, _, boxes, _ = cv2.connectedComponentsWithStats(drawn.mask)
        num_objects.append(int(np.sum(boxes[1:, cv2.CC_STAT_AREA] > 0.02 * SIZE**2)))
    assert set(num_objects) == {1, 2}
    assert num_objects.count(1) > num_objects.count(2) >= 5
    cut = [any(side.any() for side in (m[0], m[-1], m[:, 0], m[:, -1])) for m in (d.mask for d in scenes[0.5])]
    assert 5 <= sum(cut) <= NUM_SEEDS - 5


def test_colour_separates_easy_objects_only(scenes: dict[float, list[Scene]]) -> None:
    aucs = [np.mean([separability(drawn) for drawn in scenes[level]]) for level in sorted(scenes)]
    assert aucs == sorted(aucs, reverse=True)
    assert aucs[0] > 0.99
    assert aucs[1] > 0.98
    assert aucs[-1] < 0.65


def test_statistics_match_when_hidden(scenes: dict[float, list[Scene]]) -> None:
    pairs = [object_and_surroundings(drawn) for drawn in scenes[1.0]]
    bias = np.mean([inside.mean(axis=0) - around.mean(axis=0) for inside, around in pairs], axis=0)
    assert np.abs(bias).max() < 3  # levels of 255
    contrast = np.mean([np.log(inside.std(axis=0).mean() / around.std(axis=0).mean()) for inside, around in pairs])
    assert abs(contrast) < 0.2


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_samples_of_a_texture_share_statistics_and_differ(family: str) -> None:
    palette = np.array([[60, 50, 40], [120, 100, 80], [180, 160, 130]], np.float32)
    texture = Texture(family=family, palette=palette, scale=0.06, angle=0.7, detail=0.4)
    one, other = (texture.render(np.random.default_rng(seed), 128) for seed in (0, 1))
    assert one.shape == (128, 128, 3)
    assert one.dtype == np.float32
    assert np.abs(one.mean(axis=(0, 1)) - other.mean(axis=(0, 1))).max() < 8
    assert abs(np.log(one.std() / other.std())) < 0.15
    assert abs(np.corrcoef(one.mean(axis=2).ravel(), other.mean(axis=2).ravel())[0, 1]) < 0.2
