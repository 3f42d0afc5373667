import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from support.map_files import MASK

from ipsam.data.decoding.limits import quiet_pillow
from ipsam.data.images import image_headers, image_size, read_image, read_mask

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    return exif


@pytest.mark.parametrize(
    ("at_least", "shape"), [(400, (401, 563)), (201, (401, 563)), (200, (201, 282)), (100, (101, 141)), (9, (51, 71))]
)
def test_jpeg_is_decoded_no_smaller_than_needed(tmp_path: Path, at_least: int, shape: tuple[int, int]) -> None:
    Image.fromarray(cv2.resize(RGB, (563, 401))).save(tmp_path / "a.jpg", quality=95)
    image, whole = read_image(tmp_path / "a.jpg", at_least=at_least), read_image(tmp_path / "a.jpg")
    assert image.shape == (*shape, 3)
    assert np.abs(cv2.resize(whole, shape[::-1], interpolation=cv2.INTER_AREA).astype(int) - image).mean() < 5


def test_only_jpegs_are_decoded_smaller_and_are_still_turned(tmp_path: Path) -> None:
    picture = Image.fromarray(cv2.resize(RGB, (90, 60)))
    for name in ("a.png", "a.bmp", "a.tif", "a.webp"):
        picture.save(tmp_path / name)
        assert read_image(tmp_path / name, at_least=9).shape == (60, 90, 3)
    picture.save(tmp_path / "a.jpg", exif=turned_exif())
    assert read_image(tmp_path / "a.jpg", at_least=30).shape == (30, 45, 3)
    assert read_image(tmp_path / "a.jpg", at_least=30, upright=True).shape == (45, 30, 3)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_orientation_is_ignored(tmp_path: Path, suffix: str) -> None:
    image, mask = tmp_path / f"a.{suffix}", tmp_path / f"mask.{suffix}"
    Image.fromarray(RGB).save(image, exif=turned_exif())
    Image.fromarray(MASK).save(mask, exif=turned_exif(), quality=100, lossless=True)
    assert read_image(image).shape == (6, 9, 3)
    assert image_size(image) == (6, 9)
    np.testing.assert_array_equal(read_mask(mask), MASK)


@pytest.mark.parametrize(("above", "foreground"), [(128, [129, 255]), (0, [1, 127, 128, 129, 255]), (200, [255])])
def test_foreground_is_above_the_threshold(tmp_path: Path, above: int, foreground: list[int]) -> None:
    values = [0, 1, 127, 128, 129, 255]
    Image.fromarray(np.array([values], np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", above), [[255 * (v in foreground) for v in values]])
    assert above != 128 or np.array_equal(read_mask(tmp_path / "a.png"), read_mask(tmp_path / "a.png", above))


def test_empty_mask_is_valid(tmp_path: Path) -> None:
    Image.fromarray(MASK * 0).save(tmp_path / "a.png")
    assert not read_mask(tmp_path / "a.png").any()


def test_large_image_gives_no_warning(tmp_path: Path) -> None:
    """Pillow warns above a lower limit of its own."""
    Image.new("1", (10_000, 10_000)).save(tmp_path / "large.png")
    assert image_size(tmp_path / "large.png") == (10_000, 10_000)


def test_sizes_of_many_files_hold_their_errors(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"II*\0\x08")  # a TIFF cut off at once; Pillow warns about it
    good, bad, missing = image_headers([tmp_path / name for name in ("a.png", "b.png", "c.png")])
    assert good == ((6, 9), 1)
    assert isinstance(bad, ValueError)
    assert isinstance(missing, FileNotFoundError)


def test_pillows_settings_are_restored_after_several_threads() -> None:
    """The settings belong to the process; a thread on its own would restore what another had changed."""
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    barrier = threading.Barrier(4)

    def use(number: int) -> Any:
        for turn in range(50):
            if turn % 10 == 0:
                barrier.wait()
            with quiet_pillow():
                assert Image.MAX_IMAGE_PIXELS is None
                time.sleep(0.0001 * number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(use, range(4)))
    assert limit == Image.MAX_IMAGE_PIXELS
    assert warnings.filters == filters
