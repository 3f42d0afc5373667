from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ipsam.data.saved_maps.maps import read_map

MAP = np.random.default_rng(0).integers(0, 256, (6, 9), dtype=np.uint8)
BINARY = (MAP > 128).astype(np.uint8) * np.uint8(255)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_grey_map_is_read_alike_in_any_mode(tmp_path: Path, mode: str, name: str) -> None:
    values = BINARY if mode == "1" else MAP
    Image.fromarray(values).convert(mode).save(tmp_path / name)
    read = read_map(tmp_path / name)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, values)


def test_grey_jpeg_saved_as_rgb_is_read(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(cv2.resize(BINARY, (90, 60)), (0, 0), 3)
    Image.fromarray(smooth).convert("RGB").save(tmp_path / "a.jpg", quality=95)
    read = read_map(tmp_path / "a.jpg")
    assert read.shape == (60, 90)
    assert np.abs(read.astype(int) - smooth).max() < 8


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_divided_by_65535(tmp_path: Path, name: str, channels: int) -> None:
    values = np.array([[0, 1, 32768, 65534, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / name), np.repeat(values[..., None], channels, -1))
    read = read_map(tmp_path / name)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, (values / 65535).astype(np.float32))


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_are_read_as_they_are(tmp_path: Path, kind: type, channels: int) -> None:
    values = np.linspace(0, 1, 54, dtype=np.float32).reshape(6, 9)
    cv2.imwrite(str(tmp_path / "a.tif"), np.repeat(values[..., None], channels, -1).astype(kind))
    read = read_map(tmp_path / "a.tif")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (-4.5, 7, r"float values from -4\.5 to 7; .* within \[0, 1\] \(for logits: save their sigmoid"),
        (0, 255, r"float values from 0 to 255; .*for 0 to 255: divide by 255"),
        (0, float("nan"), "1 of the 2 values are NaN or infinite"),
        (float("-inf"), float("inf"), "2 of the 2 values are NaN or infinite"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_outside_0_and_1_are_refused(
    tmp_path: Path, low: float, high: float, message: str, channels: int
) -> None:
    values = np.repeat(np.array([[low, high]], np.float32)[..., None], channels, -1)
    cv2.imwrite(str(tmp_path / "a.tif"), values)
    with pytest.raises(ValueError, match=rf"a\.tif: {message}"):
        read_map(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_picture_is_refused(tmp_path: Path, mode: str) -> None:
    coloured = cv2.applyColorMap(MAP, cv2.COLORMAP_JET)
    Image.fromarray(coloured).convert(mode).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: a colour picture, not a map of probabilities; save"):
        read_map(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixel_is_refused(tmp_path: Path, mode: str) -> None:
    picture, options = Image.fromarray(MAP).convert(mode), {"transparency": int(MAP[0, 0])} if mode == "P" else {}
    if mode != "P":
        picture.putalpha(Image.fromarray(BINARY | np.uint8(1)))
    picture.save(tmp_path / "a.png", **options)
    with pytest.raises(ValueError, match=r"a\.png: transparent in \d+\.\d% of the pixels"):
        read_map(tmp_path / "a.png")


def test_other_types_are_refused(tmp_path: Path) -> None:
    Image.fromarray(MAP.astype(np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif: a map of type int32; maps must be 8-bit or 16-bit, or floats"):
        read_map(tmp_path / "a.tif")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_file_that_was_cut_off_is_refused(tmp_path: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 90), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"{name}: (broken|can't be decoded)"):
        read_map(tmp_path / name)


def test_jpeg_without_its_end_is_refused_even_if_opencv_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(MAP).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-2])
    monkeypatch.setattr(cv2, "imdecode", lambda content, flags: MAP)
    with pytest.raises(ValueError, match=r"a\.jpg: broken"):
        read_map(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_rounding_error_outside_0_and_1_is_clipped(tmp_path: Path, kind: type) -> None:
    cv2.imwrite(str(tmp_path / "a.tif"), np.array([[-1e-6, 0.5, 1 + 1e-6]], kind))
    np.testing.assert_array_equal(read_map(tmp_path / "a.tif"), np.array([[0, 0.5, 1]], np.float32))
    cv2.imwrite(str(tmp_path / "a.tif"), np.array([[-2e-5, 0.5, 1 + 3e-6]], kind))
    with pytest.raises(ValueError, match=r"a\.tif: float values from -\S+e-05 to 1\.00000\d+; a map of floats"):
        read_map(tmp_path / "a.tif")
