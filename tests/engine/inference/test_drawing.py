"""Overlays and cutouts as the options draw them."""

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageColor

from ipsam.engine.inference import drawing
from ipsam.engine.inference.prediction import Prediction

RED, BLUE = (200, 30, 30), (30, 30, 200)
SIZE = (600, 120)  # more rows than are drawn at a time


@pytest.fixture
def disc() -> Prediction:
    """Red disc with a soft edge on blue; the edge's colours are mixed."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(rows - 250, columns - 60)
    prob = (1 / (1 + np.exp((distance - 30) / 2))).astype(np.float32)
    image = np.rint(prob[..., None] * np.array(RED) + (1 - prob[..., None]) * np.array(BLUE)).astype(np.uint8)
    return Prediction(image, prob)


def opacity(prediction: Prediction) -> np.ndarray:
    return np.asarray(prediction.cutout())[..., 3].astype(int)


def test_threshold_moves_mask_overlay_and_cutout_but_not_the_map(disc: Prediction) -> None:
    wide, narrow = (disc.drawn_with(threshold=value) for value in (0.2, 0.8))
    assert wide.mask.sum() > disc.mask.sum() > narrow.mask.sum()
    for one in (wide, narrow):
        assert np.array_equal(opacity(one) >= 128, one.mask)
        assert np.array_equal(one.map, disc.map)
    assert np.array_equal(opacity(disc), disc.map)
    at = (250, 60 + 32)  # probability 0.27
    redness = [np.asarray(one.overlay(colour=(255, 0, 0)))[at][0] for one in (wide, disc, narrow)]
    assert redness == sorted(redness, reverse=True)
    assert len(set(redness)) == 3


def test_feather_is_the_width_of_the_edge(disc: Prediction) -> None:
    hard = opacity(disc.drawn_with(feather=0))
    assert set(np.unique(hard)) == {0, 255}
    assert np.array_equal(hard == 255, disc.mask)
    widths = []
    for feather in (4, 12):
        edge = opacity(disc.drawn_with(feather=feather))[250, 60:]
        widths.append(((edge > 6) & (edge < 249)).sum())
        assert abs(int(edge[30]) - 128) < 40
    assert 3 <= widths[0] <= 6
    assert 10 <= widths[1] <= 14


def test_crop_keeps_the_object_with_its_margin(disc: Prediction) -> None:
    tight, wide, whole = (disc.drawn_with(feather=0, crop=crop).cutout() for crop in (0, 0.25, 10))
    span = int(disc.mask.any(axis=0).sum())
    assert tight.size == (span, span)
    assert np.asarray(tight)[..., 3].any(axis=0).all()
    assert wide.size == (span + 2 * round(span / 4),) * 2
    assert whole.size == disc.cutout().size == SIZE[::-1]
    nothing = Prediction(disc.image, np.zeros_like(disc.prob)).drawn_with(crop=0)
    assert nothing.cutout().size == SIZE[::-1]


@pytest.mark.parametrize("edges", ["fusion", "pymatting"])
def test_edges_have_no_haze(disc: Prediction, edges: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if edges == "pymatting":  # as plain Python, since compiling the package takes a minute
        monkeypatch.setattr(pytest.importorskip("numba").config, "DISABLE_JIT", 1)
        pytest.importorskip("pymatting")
        disc = Prediction(disc.image[210:290, 20:100], disc.prob[210:290, 20:100])
    haze = []
    for one in (disc.drawn_with(edges="plain"), disc.drawn_with(edges=edges)):
        pixels = np.asarray(one.cutout())
        alpha = pixels[..., 3]
        soft = (alpha > 12) & (alpha < 243)
        haze.append((np.abs(pixels[..., :3].astype(int) - RED).mean(axis=2) * alpha / 255)[soft].mean())
        assert np.array_equal(alpha, disc.map)
    assert haze[1] < haze[0] / 4
    inside = disc.prob > 0.9999
    assert np.abs(pixels[inside][:, :3].astype(int) - disc.image[inside]).max() <= 1


def test_strips_change_nothing(disc: Prediction, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [np.asarray(disc.cutout()), np.asarray(disc.drawn_with(background="white").cutout())]
    for rows in (7, 10_000):
        monkeypatch.setattr(drawing, "ROWS", rows)
        for before, one in zip(expected, (disc, disc.drawn_with(background="white")), strict=True):
            assert np.abs(np.asarray(one.cutout()).astype(int) - before).max() <= 1


def test_background_is_a_colour_or_blurred(disc: Prediction, tmp_path: Any) -> None:
    for name in ("white", "#102030"):
        one = disc.drawn_with(background=name).cutout()
        assert one.mode == "RGB"
        assert one.getpixel((0, 0)) == ImageColor.getrgb(name)
        assert np.abs(np.array(one.getpixel((60, 250))) - RED).max() <= 1
    blurred = np.asarray(disc.drawn_with(background="blur").cutout()).astype(int)
    outside = disc.prob < 0.01
    assert np.abs(blurred[outside] - BLUE).max() <= 12  # of a blurred whole image it would be red near the disc
    path = disc.drawn_with(background="blur").save(tmp_path / "a.jpg", "cutout")
    with Image.open(path) as saved:
        assert saved.mode == "RGB"


def test_overlay_colour_stands_out() -> None:
    for own in drawing.COLOURS:  # of an image in one of the colours, the overlay has a distant one
        image = np.full((40, 50, 3), own, np.uint8)
        prediction = Prediction(image, np.zeros((40, 50), np.float32))
        assert prediction.colour in drawing.COLOURS
        assert np.abs(np.array(prediction.colour) - own).sum() > 250
        assert prediction.drawn_with(colour="#010203").colour == (1, 2, 3)
    grass, sea = (np.full((9, 9, 3), colour, np.uint8) for colour in ((60, 140, 50), (40, 90, 150)))
    assert drawing.contrasting_colour(grass) != drawing.contrasting_colour(sea)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1}, "threshold must be a number above 0 and below 1, not 1"),
        ({"tta": "rotate"}, "tta must be none, flip or scales, not 'rotate'"),
        ({"colour": "reddish"}, r"colour must be auto, or a colour such as white or '#ff2850', not 'reddish'"),
        ({"background": "blurr"}, r"background must be blur, or a colour such as white or '#ff2850', not 'blurr'"),
        ({"feather": -1}, r"feather must be a number from 0 to 200, or null, not -1"),
        ({"size": 0}, r"size must be a whole number from 1 to 4,096, or null, not 0"),
        ({"zooom": True}, "zooom: unknown key; did you mean zoom"),
    ],
)
def test_impossible_option_is_named(disc: Prediction, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        disc.drawn_with(**options)
