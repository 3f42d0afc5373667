from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.defaults import augment_with
from torch import Tensor

from ipsam.data.placement import Placement, resized_mask
from ipsam.data.transforms import to_image, to_mask
from ipsam.utils.imagenet import MEAN, STD, _constants, denormalise, normalise

CHANGES: dict[str, dict[str, Any]] = {
    "none": {"hflip": 0.0},
    "hflip": {"hflip": 1.0},
    "vflip": {"hflip": 0.0, "vflip": 1.0},
    "rotate": {"hflip": 0.0, "rotate": 30.0},
    "crop": {"hflip": 0.0, "crop": 0.3},
    "all": {"hflip": 0.5, "vflip": 0.5, "rotate": 20.0, "crop": 0.5},
}


def blob(height: int = 90, width: int = 120) -> np.ndarray:
    """An ellipse off the centre, so that every flip and turn moves it."""
    y, x = np.mgrid[:height, :width]
    inside = ((y - height * 0.4) / (height * 0.25)) ** 2 + ((x - width * 0.35) / (width * 0.2)) ** 2 < 1
    return inside.astype(np.uint8) * np.uint8(255)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("seed", range(4))
def test_image_and_mask_stay_aligned(name: str, seed: int) -> None:
    mask = blob()
    torch.manual_seed(seed)
    transform = augment_with(**CHANGES[name]).transform(64)
    image, moved = transform(to_image(np.repeat(mask[..., None], 3, axis=2)), to_mask(mask))
    assert image.shape == (3, 64, 64)
    assert moved.shape == (1, 64, 64)
    assert set(moved.unique().tolist()) <= {0, 255}  # a crop may miss the object
    # The image is interpolated, the mask is not: they may disagree within a pixel of the contour and nowhere else.
    apart = (image.as_subclass(Tensor)[0] > 127) != (moved.as_subclass(Tensor)[0] > 0)
    perimeter = (np.diff(moved[0].numpy(), axis=0) != 0).sum() + (np.diff(moved[0].numpy(), axis=1) != 0).sum()
    assert apart.sum() <= perimeter
    assert apart.float().mean() < 0.03


@pytest.mark.parametrize(("name", "flip"), [("hflip", [-1]), ("vflip", [-2])])
def test_certain_flip_flips_image_and_mask(name: str, flip: list[int]) -> None:
    image, mask = to_image(np.repeat(blob(64, 64)[..., None], 3, axis=2)), to_mask(blob(64, 64))
    flipped_image, flipped_mask = augment_with(**CHANGES[name]).transform(64)(image, mask)
    assert torch.equal(flipped_image.as_subclass(Tensor), image.as_subclass(Tensor).flip(flip))
    assert torch.equal(flipped_mask.as_subclass(Tensor), mask.as_subclass(Tensor).flip(flip))


def test_jitter_changes_colours_and_no_mask() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    changed, mask = augment_with(hflip=0.0, jitter=0.5).transform(64)(to_image(image), to_mask(blob(64, 64)))
    assert not torch.equal(changed.as_subclass(Tensor), to_image(image).as_subclass(Tensor))
    assert torch.equal(mask.as_subclass(Tensor), to_mask(blob(64, 64)).as_subclass(Tensor))


def test_camouflage_gives_the_object_its_surroundings_colours_and_changes_nothing_else() -> None:
    mask = blob(64, 64)
    picture = np.random.default_rng(0).integers(80, 120, (64, 64, 3), dtype=np.uint8)
    picture[mask > 0] = np.random.default_rng(1).integers((150, 0, 0), (250, 60, 60), (int((mask > 0).sum()), 3))
    image = to_image(picture)
    hidden, kept = augment_with(hflip=0.0, camouflage=1.0).transform(64)(image, to_mask(mask))
    inside = kept[0] > 0
    away = F.max_pool2d(inside[None].float(), 7, stride=1, padding=3)[0] == 0
    assert torch.equal(kept.as_subclass(Tensor), to_mask(mask).as_subclass(Tensor))
    assert torch.equal(hidden[:, away], image[:, away])
    before, after = (float((i[:, inside].float().mean(1) - 99.5).abs().max()) for i in (image, hidden))
    assert before > 90
    assert after < 0.6 * before
    assert hidden[:, inside].float().std() > 5  # its texture is still there
    assert torch.equal(augment_with(hflip=0.0, camouflage=1.0).transform(64)(image, to_mask(0 * mask))[0], image)


def test_normalise_is_imagenet_and_can_be_undone() -> None:
    image = to_image(np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8))
    normalised = normalise(image)
    assert type(normalised) is Tensor
    for channel in range(3):
        expected = (image[channel].numpy() / 255 - MEAN[channel]) / STD[channel]
        np.testing.assert_allclose(normalised[channel].numpy(), expected, atol=1e-6)
    restored = denormalise(normalised).mul(255).round().to(torch.uint8)
    assert torch.equal(restored, image.as_subclass(Tensor))


def test_normalised_batch_equals_normalised_images_to_the_bit() -> None:
    images = torch.randint(0, 256, (3, 3, 8, 9), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    assert torch.equal(normalise(images), torch.stack([(image.float() / 255 - mean) / std for image in images]))


def test_constants_made_in_inference_mode_can_train() -> None:
    _constants.cache_clear()
    with torch.inference_mode():
        normalise(torch.zeros(3, 2, 2, dtype=torch.uint8))
    scale = torch.ones(1, requires_grad=True)
    (normalise(torch.zeros(3, 2, 2, dtype=torch.uint8)) * scale).sum().backward()
    assert scale.grad is not None


@pytest.mark.parametrize("side", [64, 352])
def test_resized_mask_takes_the_nearest_pixels_as_torch_does(side: int) -> None:
    """Rounding may differ where a position falls between two pixels."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = (int(length) for length in rng.integers(1, 1500, 2))
        mask = rng.integers(0, 2, (height, width), dtype=np.uint8) * np.uint8(255)
        resized = resized_mask(mask, (side, side + 8))
        rows, columns = (_nearest(length, size) for length, size in zip(mask.shape, (side, side + 8), strict=True))
        np.testing.assert_array_equal(resized, mask[rows][:, columns])
        for length, size in ((height, side), (width, side + 8)):
            positions = torch.arange(length, dtype=torch.float64)
            torchs = F.interpolate(positions[None, None], size=size, mode="nearest")[0, 0].numpy()
            assert np.abs(_nearest(length, size) - torchs).max() <= 1


def _nearest(length: int, size: int) -> np.ndarray:
    return np.minimum(np.floor(np.arange(size) * (1 / (size / length))).astype(int), length - 1)


def test_unaugmented_training_image_is_the_input_of_evaluation() -> None:
    """An image of that size already stays as it is."""
    for size in ((90, 120), (64, 64)):
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        changed, _ = augment_with(hflip=0.0).transform(64)(to_image(image), to_mask(blob(*size)))
        assert torch.equal(changed.as_subclass(Tensor), Placement(64, 64, 64).image(image))
    assert torch.equal(Placement(64, 64, 64).image(image), torch.from_numpy(image).permute(2, 0, 1))
