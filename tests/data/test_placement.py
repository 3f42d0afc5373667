"""Images, masks and maps go into the network's square and come back to the same pixels."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from ipsam.data.placement import PADDING, Placement, resized_mask
from ipsam.data.transforms import to_image
from ipsam.utils.imagenet import normalise

SIDE = 64
WIDE, TALL, SLIVER = (45, 90), (120, 50), (1, 900)
PLACES = {WIDE: (16, 0, 32, 64), TALL: (0, 18, 64, 27), SLIVER: (31, 0, 1, 64), (70, 70): (0, 0, 64, 64)}
PLACES |= {(24, 18): (0, 8, 64, 48), (300, 601): (16, 0, 32, 64)}


def letterboxed(size: tuple[int, int]) -> Placement:
    return Placement.of(size, SIDE, letterbox=True)


@pytest.mark.parametrize("size", PLACES)
def test_mask_returns_as_resized(size: tuple[int, int]) -> None:
    """And everything around it is background."""
    mask = np.random.default_rng(0).integers(0, 2, size, dtype=np.uint8) * np.uint8(255)
    mask[:, [0, -1]] = mask[[0, -1]] = 255
    placed, (_, _, height, width) = letterboxed(size), PLACES[size]
    assert (placed.top, placed.left, placed.height, placed.width) == PLACES[size]
    square = placed.mask(mask)
    assert square.shape == (SIDE, SIDE)
    back = placed.cropped(torch.from_numpy(square)[None].float())[0].numpy()
    np.testing.assert_array_equal(back, resized_mask(mask, (height, width)))
    assert square.sum(dtype=int) == back.sum(dtype=int)
    assert placed.is_whole == (size == (70, 70))


@pytest.mark.parametrize("size", PLACES)
def test_image_keeps_its_aspect_ratio_between_mean_colours(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    placed, (top, left, height, width) = letterboxed(size), PLACES[size]
    square = placed.image(image)
    assert square.shape == (3, SIDE, SIDE)
    np.testing.assert_array_equal(placed.pixels(image), square.permute(1, 2, 0))
    inside = square[:, top : top + height, left : left + width]
    assert torch.equal(inside, v2.functional.resize(to_image(image), [height, width], antialias=True))
    is_padding = torch.ones(SIDE, SIDE, dtype=torch.bool)
    is_padding[top : top + height, left : left + width] = False
    assert (square[:, is_padding] == torch.tensor(PADDING)[:, None]).all()
    assert normalise(square)[:, is_padding].abs().sum() <= 0.02 * is_padding.sum()


@pytest.mark.parametrize("size", [WIDE, TALL])
def test_maps_on_coarser_grids_return_to_their_pixels(size: tuple[int, int]) -> None:
    """A map that holds each place's own row and column shows by how much it has moved."""
    placed = letterboxed(size)
    centres = (torch.arange(16) + 0.5) * SIDE / 16
    rows, columns = placed.cropped(torch.stack(torch.meshgrid(centres, centres, indexing="ij")))
    for found, first, length in ((rows[:, 32 - placed.left], placed.top, placed.height),
                                 (columns[32 - placed.top], placed.left, placed.width)):  # fmt: skip
        expected = torch.arange(length) + 0.5 + first
        assert len(found) == length
        assert (found - expected).abs().max() <= 2  # at the square's edge, where a bilinear resize repeats the cell


def test_default_fills_the_square() -> None:
    """As before letterboxing was an option: one resize, and maps are left alone."""
    image = np.random.default_rng(2).integers(0, 256, (*WIDE, 3), dtype=np.uint8)
    placed, maps = Placement.of(WIDE, SIDE, letterbox=False), torch.rand(1, 16, 16)
    assert placed == Placement(SIDE, SIDE, SIDE)
    assert torch.equal(placed.image(image), v2.functional.resize(to_image(image), [SIDE, SIDE], antialias=True))
    assert placed.cropped(maps) is maps


def test_flip_leaves_the_padding_where_it_is() -> None:
    image = np.zeros((*WIDE, 3), np.uint8)
    square = letterboxed(WIDE).image(image)
    assert torch.equal(square.flip(1), square)
