"""Fuzz the readers of images and masks with broken and hostile files.

Each file is read as an independent decoder reads it, or ends in one error that names it, within seconds and 400 MB.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.defaults import augment_with
from support.fuzzing import MUTATIONS, Tally, bounded, clear
from support.hostile_images import HEADERS, HOSTILE, png
from support.image_files import ENCODERS, blob, colours, reference
from support.quick import every, only

from ipsam.data import TestSet, TrainSet
from ipsam.data.images import FOREGROUND_ABOVE, MaskError, image_size, read_image, read_mask
from ipsam.data.pairs import Pair
from ipsam.data.saved_maps.maps import read_map
from ipsam.data.sources import FolderSource

SIDE = 32  # pixels of the network's input
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "bmp": ".bmp", "tiff": ".tif", "webp": ".jpg"}
TALLY = Tally()


def mutated(role: str, kind: str, mutation: str, seed: int) -> bytes:
    picture = colours() if role == "image" else blob()
    rng = np.random.default_rng([seed, *f"{role} {kind} {mutation}".encode()])
    return MUTATIONS[mutation](ENCODERS[kind](picture), rng)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an undamaged pair."""
    made = tmp_path_factory.mktemp("fuzz")
    colours().save(made / "whole.png")
    blob().save(made / "whole_mask.png")
    return made


@pytest.fixture
def written(folder: Path) -> Callable[[bytes, str], Path]:
    """Writes a file in place of the last one."""

    def write(content: bytes, suffix: str) -> Path:
        path = folder / f"case{suffix}"
        path.write_bytes(content)
        return path

    return write


def outcome(path: Path, role: str) -> NDArray[np.uint8] | None:
    """Read a file in every way, check that all agree, and return the pixels, or None if all end in a clear error."""
    whole = {"image": path.parent / "whole.png", "mask": path.parent / "whole_mask.png"}
    pair = Pair("case", **whole | {role: path})
    source = FolderSource([pair])
    train_set = TrainSet(source, image_size=SIDE, augment=augment_with(vflip=0.5), seed=0)
    ways = (
        lambda: (read_image if role == "image" else read_mask)(path),
        lambda: getattr(source.read(0, 0), role),
        lambda: FolderSource([pair], at_least=1).read(0, 0),
        lambda: train_set[0],
        lambda: TestSet(source, image_size=SIDE)[0],
        lambda: read_map(path),
    )
    with bounded():
        read, stored, smaller, trained, tested, _ = (attempt(way, path) for way in ways)
        size = attempt(lambda: image_size(path), path)
    if read is None:
        assert [stored, smaller, trained, tested] == [None] * 4
        TALLY["clear errors"] += 1
        return None
    assert read.dtype == np.uint8
    assert size == read.shape[:2]
    np.testing.assert_array_equal(stored, read)
    assert trained["image"].shape == tested["image"].shape == (3, SIDE, SIDE)
    assert trained["mask"].shape == (1, SIDE, SIDE)
    assert trained["image"].dtype == tested["image"].dtype == torch.uint8
    assert set(trained["mask"].unique().tolist()) <= {0, 255}
    assert tested["mask"].dtype == np.uint8
    TALLY["right results"] += 1
    return read


def attempt(way: Callable[[], Any], path: Path) -> Any:
    try:
        return way()
    except Exception as error:
        check_error(error, path)
        return None


def check_error(error: Exception, path: Path) -> None:
    assert type(error) in (ValueError, FileNotFoundError, MaskError), repr(error)
    assert len(clear(error, str(path)).splitlines()) == 1


def check(read: NDArray[np.uint8], content: bytes, kind: str, role: str) -> None:
    """Compare with Pillow. Decoders round CMYK, a JPEG's colours and so a mask's greys at the threshold differently."""
    expected = reference(content, "RGB" if role == "image" else "L")
    assert expected is not None, "another decoder finds it broken"
    assert read.shape == expected.shape
    if role == "image":
        assert np.abs(read.astype(int) - expected).max() <= (2 if "jpeg" in kind or "cmyk" in kind else 0)
    else:
        differs = read != np.where(expected > FOREGROUND_ABOVE, 255, 0)
        assert np.abs(expected[differs].astype(int) - FOREGROUND_ABOVE).max(initial=0) <= 2


@pytest.mark.parametrize("seed", only({0}, range(2)))
@pytest.mark.parametrize("mutation", every(3, MUTATIONS))
@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("role", ["image", "mask"])
def test_mutated_file(written: Callable[[bytes, str], Path], role: str, kind: str, mutation: str, seed: int) -> None:
    content = mutated(role, kind, mutation, seed)
    read = outcome(written(content, SUFFIXES[kind.partition("-")[0]]), role)
    if read is not None:
        check(read, content, kind, role)


@pytest.mark.parametrize("suffix", every(2, sorted(set(SUFFIXES.values()))))
@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("role", ["image", "mask"])
def test_whole_file_under_any_extension(
    written: Callable[[bytes, str], Path], role: str, kind: str, suffix: str
) -> None:
    content = ENCODERS[kind](colours() if role == "image" else blob())
    read = outcome(written(content, suffix), role)
    assert read is not None
    check(read, content, kind, role)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", ["grey", "rgb", "rgba"])
def test_16_bit_image_keeps_its_upper_8_and_mask_is_refused(
    written: Callable[[bytes, str], Path], channels: str, suffix: str
) -> None:
    """A mask's labels would become background."""
    rgb = np.asarray(colours())
    alpha = np.asarray(blob())[..., None]
    pixels = {"grey": rgb[..., 0], "rgb": rgb[..., ::-1], "rgba": np.concatenate([rgb[..., ::-1], alpha], -1)}[channels]
    content = cv2.imencode(suffix, pixels.astype(np.uint16) * 257)[1].tobytes()
    image = outcome(written(content, suffix), "image")
    assert image is not None
    np.testing.assert_array_equal(image, rgb if channels != "grey" else np.repeat(rgb[..., :1], 3, -1))
    assert outcome(written(content, suffix), "mask") is None


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 4000), (4000, 1), (2, 2), (1, 65_500)], ids=lambda size: "x".join(map(str, size))
)
@pytest.mark.parametrize("kind", ["png", "jpeg", "bmp", "tiff"])
@pytest.mark.parametrize("role", ["image", "mask"])
def test_odd_size(written: Callable[[bytes, str], Path], role: str, kind: str, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 2, size, dtype=np.uint8) * 255
    content = ENCODERS[kind](Image.fromarray(pixels if role == "mask" else np.stack([pixels] * 3, -1)))
    read = outcome(written(content, SUFFIXES[kind]), role)
    assert read is not None
    assert read.shape[:2] == size
    check(read, content, kind, role)


CLAIMED = [(0, 0), (0, 9), (9, 0), (10_000, 10_001), (60_000, 60_000), (65_535, 65_535), (1, 2**31 - 1), (2**31 - 1, 1)]


@pytest.mark.parametrize("size", CLAIMED, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("role", ["image", "mask"])
def test_header_that_claims_too_much_is_refused(
    written: Callable[[bytes, str], Path], role: str, kind: str, size: tuple[int, int]
) -> None:
    height, width = size
    if kind in ("jpeg", "webp") and max(size) > 65_535:
        height, width = min(height, 65_535), min(width, 65_535)
    path = written(HEADERS[kind](width, height), SUFFIXES[kind])
    assert outcome(path, role) is None


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("role", only({"image"}, ["image", "mask"]))
def test_hostile_file(written: Callable[[bytes, str], Path], role: str, name: str) -> None:
    content = HOSTILE[name]()
    read = outcome(written(content, ".png"), role)
    if read is not None:
        check(read, content, name, role)


def test_other_than_plain_files_are_refused(folder: Path) -> None:
    """Readers must not wait for a pipe, read a device without end or load a terabyte."""
    made: dict[str, Callable[[Path], None]] = {
        "none": lambda path: None,
        "a folder": lambda path: path.mkdir(),
        "a pipe": lambda path: os.mkfifo(path),
        "a link to nothing": lambda path: path.symlink_to("nowhere"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a device": lambda path: path.symlink_to("/dev/zero"),
        "a terabyte of nothing": sparse,
    }
    for name, make in made.items():
        path = folder / f"{name}.png"
        make(path)
        assert outcome(path, "image") is None
        assert outcome(path, "mask") is None
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(png(8, 8))
        file.truncate(1 << 40)


def test_count(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs last: the tests above were enough, and reading wrote no files."""
    assert {path.stem for path in folder.iterdir()} <= {"whole", "whole_mask", "case"}
    TALLY.check("images and masks", capsys, least=600, of_each=300)
