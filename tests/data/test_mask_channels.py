"""Masks that are more than one grey channel: with alpha, colours or further pages."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.fuzzing import bounded
from support.hostile_images import tiff

from ipsam.data.images import MaskError, read_mask
from ipsam.data.pairs import Pair
from ipsam.data.saved_maps.map_pairs import SavedMap
from ipsam.data.saved_maps.maps import read_map
from ipsam.data.sources import FolderSource
from ipsam.tools.prepare.doctor.examine import File, examine

MASK = np.zeros((40, 56), np.uint8)
MASK[8:20, 10:30] = 255
BLACK, WHITE = MASK * 0, MASK * 0 + 255
OTHER = np.roll(MASK, 15, axis=1)

IN_ALPHA = r"the object is in the alpha channel, while the colours are {} throughout; save the alpha channel itself"
DIFFERENT = r"transparent in {} of its pixels, where its alpha channel and its colours are different masks; save the"
COLOURS = r"a mask in colour: {} of its pixels have colours such as {} \(RGB\), which have no meaning as grey; save it"


def stacked(*channels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(np.dstack(channels))


def painted(*colours: tuple[int, int, int]) -> Image.Image:
    """Black image with a rectangle of each colour."""
    pixels = np.zeros((40, 56, 3), np.uint8)
    for number, colour in enumerate(colours):
        pixels[8:20, 6 + 12 * number : 16 + 12 * number] = colour
    return Image.fromarray(pixels)


def palette(*colours: tuple[int, int, int]) -> Image.Image:
    """Palette image with these colours for labels 0 and 1; label 1 is the mask."""
    image = Image.fromarray(MASK // 255)
    image.putpalette([value for colour in colours for value in colour])
    return image


REFUSED: dict[str, tuple[Image.Image, str]] = {
    "object in alpha of black": (stacked(BLACK, BLACK, BLACK, MASK), IN_ALPHA.format(0)),
    "object in alpha of white": (stacked(WHITE, WHITE, WHITE, MASK), IN_ALPHA.format(255)),
    "object in alpha of grey": (stacked(WHITE, MASK), IN_ALPHA.format(255)),
    "another object in alpha": (stacked(MASK, MASK, MASK, OTHER), DIFFERENT.format(r"89\.3%")),
    "transparent throughout": (stacked(MASK, MASK, MASK, BLACK), DIFFERENT.format(r"100\.0%")),
    "red": (painted((255, 0, 0)), COLOURS.format(r"5\.4%", r"\(255, 0, 0\)")),
    "red and green": (painted((255, 0, 0), (0, 255, 0)), COLOURS.format(r"10\.7%", r"\(0, 255, 0\), \(255, 0, 0\)")),
    "many colours": (
        painted((255, 0, 0), (255, 40, 0), (255, 80, 0), (0, 90, 0)),
        COLOURS.format(r"\d+\.\d%", r"(\(\d+, \d+, 0\), ){3}\(255, \d+, 0\)"),
    ),
    "colours with opaque alpha": (painted((0, 200, 0)).convert("RGBA"), COLOURS.format(r"5\.4%", r"\(0, 200, 0\)")),
    "colours of a palette": (palette((0, 0, 0), (128, 0, 0)), COLOURS.format(r"10\.7%", r"\(128, 0, 0\)")),
}


def save(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **{"lossless": True} if path.suffix == ".webp" else options)
    return path


# The TIFF's decoder or the WebP's encoder multiplies alpha into the colours, so that both are the mask.
MULTIPLIED = [
    ("object in alpha of white", ".tif"),
    ("object in alpha of white", ".webp"),
    ("object in alpha of grey", ".webp"),
]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("name", REFUSED)
def test_unclear_mask_is_refused(tmp_path: Path, name: str, suffix: str) -> None:
    image, message = REFUSED[name]
    path = save(image, tmp_path / f"a{suffix}")
    if (name, suffix) in MULTIPLIED:
        np.testing.assert_array_equal(read_mask(path), MASK)
        return
    if suffix != ".png":
        message = "(the object is in|transparent|a mask in colour)"
    with pytest.raises(MaskError, match=rf"a\{suffix}: {message}"):
        read_mask(path)


def test_coloured_jpeg_is_refused(tmp_path: Path) -> None:
    path = save(painted((255, 0, 0), (0, 255, 0)), tmp_path / "a.jpg")
    with pytest.raises(MaskError, match=r"a\.jpg: a mask in colour: \d+\.\d% of its pixels have colours such as \("):
        read_mask(path)


def test_transparent_label_of_a_palette_is_refused(tmp_path: Path) -> None:
    path = save(palette((255, 255, 255), (255, 255, 255)), tmp_path / "a.png", transparency=0)
    with pytest.raises(MaskError, match=IN_ALPHA.format(255)):
        read_mask(path)


def several(path: Path, kind: str) -> Path:
    further = [Image.fromarray(MASK), Image.fromarray(OTHER)]
    Image.fromarray(BLACK).save(path, kind, save_all=True, append_images=further)
    return path


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP", "MPO"])
@pytest.mark.parametrize(("read", "what"), [(read_mask, "mask"), (read_map, "map")])
def test_further_pages_are_refused(tmp_path: Path, kind: str, read: Callable[[Path], Any], what: str) -> None:
    path = several(tmp_path / "a.png", kind)
    with pytest.raises(ValueError, match=rf"a\.png: a {kind} of several pages, not one {what}; save each page"):
        read(path)


def test_empty_png_may_be_transparent_throughout(tmp_path: Path) -> None:
    assert not read_mask(save(stacked(BLACK, BLACK, BLACK, BLACK), tmp_path / "a.png")).any()


def test_thumbnail_in_a_tiff_is_no_page(tmp_path: Path) -> None:
    thumbnail = Image.fromarray(MASK[::4, ::4])
    thumbnail.encoderinfo = {"tiffinfo": {254: 1}}
    Image.fromarray(MASK).save(tmp_path / "a.tif", save_all=True, append_images=[thumbnail])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), MASK)
    Image.fromarray(MASK).save(tmp_path / "b.tif", save_all=True, append_images=[thumbnail, Image.fromarray(OTHER)])
    with pytest.raises(ValueError, match=r"b\.tif: a TIFF of several pages"):
        read_mask(tmp_path / "b.tif")


def test_object_in_the_fourth_channel_of_a_bmp_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=IN_ALPHA.format(0)):
        read_mask(save(stacked(BLACK, BLACK, BLACK, MASK), tmp_path / "a.bmp"))
    np.testing.assert_array_equal(read_mask(save(stacked(MASK, MASK, MASK, BLACK), tmp_path / "b.bmp")), MASK)


def test_pages_of_floats_are_refused(tmp_path: Path) -> None:
    """Pillow has no mode for 64-bit floats."""
    cv2.imwritemulti(str(tmp_path / "a.tif"), [MASK / 255.0, MASK / 255.0])
    with pytest.raises(ValueError, match=r"a\.tif: a TIFF of several pages, not one map"):
        read_map(tmp_path / "a.tif")


@pytest.mark.parametrize("successor", [0, 1, 1000], ids=["none", "itself", "behind_the_end"])
def test_wrong_offset_of_a_next_page_is_ignored(tmp_path: Path, successor: int) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(56, 40, zlib.compress(MASK.tobytes()), last=successor))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), MASK)


def test_alpha_of_a_grey_tiff_map_is_read(tmp_path: Path) -> None:
    """OpenCV drops it."""
    np.testing.assert_array_equal(read_map(save(stacked(MASK, WHITE), tmp_path / "a.tif")), MASK)
    with pytest.raises(ValueError, match=r"b\.tif: transparent in 89\.3% of the pixels"):
        read_map(save(stacked(WHITE, MASK), tmp_path / "b.tif"))
    turned = read_map(save(stacked(MASK, WHITE), tmp_path / "c.tif", tiffinfo={274: 6}))
    np.testing.assert_array_equal(turned, np.rot90(MASK, -1))


EDGE = cv2.dilate(MASK, np.ones((3, 3), np.uint8))  # white where the alpha of a smooth edge is not yet opaque
ACCEPTED: dict[str, Image.Image] = {
    "nearly opaque": stacked(MASK, MASK, MASK, WHITE - 1),
    "alpha has smooth edges": stacked(EDGE, EDGE, EDGE, np.maximum(MASK, EDGE // 4)),
    "alpha is the same mask": stacked(MASK, MASK, MASK, MASK),
    "black and transparent but for one pixel": stacked(*[np.eye(40, 56, dtype=np.uint8) * np.uint8(255)] * 4),
    "slightly tinted": stacked(MASK, MASK // 255 * 244, np.maximum(MASK, 9)),
    "soft": stacked(*[cv2.GaussianBlur(MASK, (0, 0), 3)] * 3),
}


def check_grey(path: Path) -> None:
    """Compare the mask with OpenCV's own conversion to grey."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    np.testing.assert_array_equal(read_mask(path), np.where(grey > 128, 255, 0))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("name", ACCEPTED)
def test_grey_mask_is_read_in_any_form(tmp_path: Path, name: str, suffix: str) -> None:
    check_grey(save(ACCEPTED[name], tmp_path / f"a{suffix}"))


@pytest.mark.parametrize(("mode", "quality"), [("RGB", 10), ("RGB", 75), ("RGB", 100), ("CMYK", 75), ("CMYK", 100)])
def test_jpeg_in_colours_is_read_by_its_brightness(tmp_path: Path, mode: str, quality: int) -> None:
    noise = np.random.default_rng(0).integers(-6, 7, (40, 56, 3))
    image = Image.fromarray((np.dstack([MASK] * 3) + noise).clip(0, 255).astype(np.uint8)).convert(mode)
    check_grey(save(image, tmp_path / "a.jpg", quality=quality))


@pytest.mark.parametrize("damage", ["alpha", "colours", "pages"])
def test_training_scoring_and_data_check_give_the_same_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.tif"
    if damage == "pages":
        several(path, "TIFF")
    else:
        REFUSED["object in alpha of grey" if damage == "alpha" else "red"][0].save(path)
    whole = save(Image.fromarray(MASK), tmp_path / "whole.png")
    messages = []
    for read in (
        lambda: read_mask(path),
        lambda: FolderSource([Pair("a", whole, path)]).read(0, 0),
        SavedMap("a", whole, path),
    ):
        with pytest.raises(ValueError, match=r"a\.tif: ") as caught:
            read()
        messages.append(str(caught.value))
    facts = examine(File(path, "mask", path.stem))
    assert facts.fault == ("unreadable" if damage == "pages" else "mask values")
    assert {*messages} == {facts.reason}


def test_large_mask_in_colour_is_explained_at_once(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    path = save(Image.fromarray(noise), tmp_path / "a.bmp")
    with bounded(), pytest.raises(MaskError, match=r"a\.bmp: a mask in colour: 98\.\d% .*, \.\.\. \(RGB\)"):
        read_mask(path)
