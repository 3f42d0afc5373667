import struct
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ipsam.data.decoding.limits import quiet_pillow
from ipsam.data.images import image_size, image_sizes, read_image, read_mask

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
MASK = np.zeros((6, 9), dtype=np.uint8)
MASK[2:4, 3:7] = 255


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif", "a.tiff"])
def test_lossless_formats_are_read_as_rgb(tmp_path: Path, name: str) -> None:
    Image.fromarray(RGB).save(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name), RGB)


def test_png_inside_jpg_is_read_by_its_content(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.jpg", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), RGB)
    assert image_size(tmp_path / "a.jpg") == (6, 9)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_images_of_other_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    Image.fromarray(RGB).convert(mode).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (6, 9, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize(
    ("at_least", "shape"), [(400, (401, 563)), (201, (401, 563)), (200, (201, 282)), (100, (101, 141)), (9, (51, 71))]
)
def test_a_jpeg_is_decoded_no_smaller_than_needed(tmp_path: Path, at_least: int, shape: tuple[int, int]) -> None:
    Image.fromarray(cv2.resize(RGB, (563, 401))).save(tmp_path / "a.jpg", quality=95)
    image, whole = read_image(tmp_path / "a.jpg", at_least=at_least), read_image(tmp_path / "a.jpg")
    assert image.shape == (*shape, 3)
    assert np.abs(cv2.resize(whole, shape[::-1], interpolation=cv2.INTER_AREA).astype(int) - image).mean() < 5


def test_only_jpegs_are_decoded_smaller_and_turning_goes_on(tmp_path: Path) -> None:
    picture, exif = Image.fromarray(cv2.resize(RGB, (90, 60))), Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    for name in ("a.png", "a.bmp", "a.tif", "a.webp"):
        picture.save(tmp_path / name)
        assert read_image(tmp_path / name, at_least=9).shape == (60, 90, 3)
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg", at_least=30).shape == (30, 45, 3)
    assert read_image(tmp_path / "a.jpg", at_least=30, upright=True).shape == (45, 30, 3)


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
    Image.fromarray(MASK).save(tmp_path / "mask.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (6, 9, 3)
    assert read_mask(tmp_path / "mask.jpg").shape == (6, 9)
    assert image_size(tmp_path / "a.jpg") == (6, 9)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "LA"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_masks_of_all_modes_read_alike(tmp_path: Path, mode: str, suffix: str) -> None:
    Image.fromarray(MASK).convert(mode).save(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"a.{suffix}"), MASK)


def test_foreground_is_above_128(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 127, 128, 129, 255]], dtype=np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), [[0, 0, 0, 255, 255]])


def test_an_empty_mask_is_valid(tmp_path: Path) -> None:
    Image.fromarray(MASK * 0).save(tmp_path / "a.png")
    assert not read_mask(tmp_path / "a.png").any()


@pytest.mark.parametrize(
    ("values", "shown"), [([0, 1], "0, 1,"), ([0, 38], "0, 38,"), (range(20), r"0, 1, .*7, \.\.\.,")]
)
def test_a_mask_of_labels_is_refused(tmp_path: Path, values: list[int], shown: str) -> None:
    Image.fromarray(np.array([list(values)], dtype=np.uint8)).save(tmp_path / "labels.png")
    with pytest.raises(
        ValueError, match=rf"labels\.png: the mask's values are {shown} none above 128.*multiply by 255"
    ):
        read_mask(tmp_path / "labels.png")


def test_a_mask_of_16_bits_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), MASK.astype(np.uint16))
    with pytest.raises(ValueError, match=r"a\.png: a mask of type uint16; masks must be 8-bit"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("read", [read_image, read_mask, image_size])
def test_unusable_files_are_named(tmp_path: Path, read) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png: no such file"):
        read(tmp_path / "none.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"empty\.png: .*fetch it again or leave|empty\.png: .*fetch the file again"):
        read(tmp_path / "empty.png")
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"text\.jpg: .*fetch the file again"):
        read(tmp_path / "text.jpg")


@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_truncated_file_is_refused(tmp_path: Path, read) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"a\.png: broken"):
        read(tmp_path / "a.png")


def test_sizes_come_from_the_header_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(70, 50) + b"\0\0\0\0IDAT")
    assert image_size(tmp_path / "a.png") == (50, 70)


def test_large_images_neither_warn_nor_escape(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(png_header(10_000, 10_000) + b"\0\0\0\0IDAT")
    assert image_size(tmp_path / "large.png") == (10_000, 10_000)
    (tmp_path / "bomb.png").write_bytes(png_header(60_000, 60_000) + b"\0\0\0\0IDAT")
    for read in (image_size, read_image, read_mask):
        with pytest.raises(
            ValueError, match=r"bomb\.png: 60000x60000 pixels .*above the limit of 100 million in all; scale"
        ):
            read(tmp_path / "bomb.png")


def test_sizes_of_many_files_hold_their_errors(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"II*\0\x08")  # a TIFF cut off behind its first bytes, of which Pillow warns
    good, bad, missing = image_sizes([tmp_path / name for name in ("a.png", "b.png", "c.png")])
    assert good == (6, 9)
    assert isinstance(bad, ValueError)
    assert isinstance(missing, FileNotFoundError)


def test_a_file_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    for read in (read_image, read_mask, image_size):
        with pytest.raises(ValueError, match=r"a\.png: can't be read \(Permission denied\); give yourself the right"):
            read(tmp_path / "a.png")


def test_pillows_settings_are_put_back_after_several_threads() -> None:
    """They belong to the process: each thread by itself would put back what another had changed."""
    limit, filters = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    barrier = threading.Barrier(4)

    def use(number: int) -> None:
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
