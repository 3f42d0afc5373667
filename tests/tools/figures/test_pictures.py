import numpy as np
import pytest

from ipsam.tools.figures.pictures import (
    DIMMED,
    ENERGY_COLOURS,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    GATE_COLOURS,
    WIDTH,
    energy_change,
    errors,
    gate_decision,
    grey,
    patch,
    ramp,
    resized,
    shrunk,
)

RED, GREEN, BLUE = range(3)


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float32)


def test_probabilities_are_grey() -> None:
    assert grey(row(0, 0.5, 1)).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]


def test_errors_have_two_colours_as_strong_as_they_are_wrong() -> None:
    image = np.full((1, 6, 3), 200, np.uint8)
    picture = errors(image, row(0, 1, 1, 0, 0.5, 0.25), row(0, 1, 0, 1, 0, 1))
    behind = 200 * DIMMED
    assert picture.dtype == np.uint8
    assert picture[0, :2].tolist() == [[round(behind)] * 3] * 2  # both are right
    assert tuple(picture[0, 2]) == FALSE_POSITIVE
    assert tuple(picture[0, 3]) == FALSE_NEGATIVE
    np.testing.assert_allclose(picture[0, 4], behind / 2 + np.array(FALSE_POSITIVE) / 2, atol=0.5)
    np.testing.assert_allclose(picture[0, 5], behind / 4 + np.array(FALSE_NEGATIVE) * 3 / 4, atol=0.5)


def test_the_image_behind_errors_has_no_colour() -> None:
    image = np.array([[[255, 0, 0], [0, 255, 0], [255, 255, 255]]], np.uint8)
    picture = errors(image, row(0, 0, 0), row(0, 0, 0))
    assert (picture == picture[..., :1]).all()
    assert picture[0, :, 0].tolist() == [round(76 * DIMMED), round(150 * DIMMED), round(255 * DIMMED)]  # luminance


def test_the_gate_is_red_where_it_keeps_and_dark_blue_where_it_suppresses() -> None:
    suppressed, half, kept = gate_decision(row(1, 0.5, 0))[0].astype(int)
    assert suppressed[BLUE] > suppressed[RED] > suppressed[GREEN]
    assert suppressed.max() < 100
    assert kept[RED] > 100
    assert kept[RED] > 10 * kept[[GREEN, BLUE]].max()
    assert half[GREEN] > half[[RED, BLUE]].max()
    strongly, weakly = gate_decision(row(0.9, 0.1))[0].astype(int)
    assert strongly[BLUE] > 2 * strongly[RED]
    assert weakly[RED] > 3 * weakly[BLUE]


def test_warmer_is_a_larger_change() -> None:
    values = np.linspace(0, 4, 9, dtype=np.float32)[None]
    picture = energy_change(values, highest=4).astype(int)
    assert picture[0, 0].max() < 10  # dark
    assert picture[0, -1].min() > 150  # bright
    brightness = picture[0].sum(1)
    assert (np.diff(brightness) > 0).all()
    assert (picture[0, 5:, RED] > 200).all()  # warm
    assert (energy_change(values, highest=8)[0, -1] == picture[0, 4]).all()


def test_no_change_at_all_is_dark() -> None:
    assert energy_change(row(0, 0), highest=0).max() < 10


def test_keys_show_the_colours_of_the_pictures() -> None:
    assert patch((1, 2, 3)).tolist() == [[[1, 2, 3]]]
    assert (ramp(GATE_COLOURS)[0, [0, -1]] == gate_decision(row(1, 0))[0]).all()
    assert (ramp(ENERGY_COLOURS)[0, [0, -1]] == energy_change(row(0, 3), 3)[0]).all()


@pytest.mark.parametrize("size", [(100, WIDTH), (100, 10), (3 * WIDTH, WIDTH - 1)])
def test_what_is_no_wider_than_the_page_shows_stays(size: tuple[int, int]) -> None:
    pixels = np.zeros(size, np.float32)
    assert shrunk(pixels) is pixels


def test_what_is_wider_is_averaged_in_its_own_shape() -> None:
    wide = np.zeros((60, 4 * WIDTH), np.float32)
    wide[:, ::2] = 1
    np.testing.assert_allclose(shrunk(wide), np.full((15, WIDTH), 0.5), atol=1e-6)
    assert shrunk(np.zeros((1, 9 * WIDTH, 3), np.uint8)).shape == (1, WIDTH, 3)


def test_resizing() -> None:
    pixels = np.array([[0, 255]], np.uint8)
    assert resized(pixels, (1, 2)) is pixels
    larger = resized(pixels, (2, 8))
    assert larger.shape == (2, 8)
    assert (np.diff(larger.astype(int)) >= 0).all()
    assert larger[0, [0, -1]].tolist() == [0, 255]
