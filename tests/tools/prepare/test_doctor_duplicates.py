"""Copies are found in any format and size, and different images are no copies."""

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.builders import REAL_DATA
from support.doctor_files import examined, found, mask, message, own_data, picture, save, write_set

from ipsam.data.images import read_image
from ipsam.data.synthetic.scenes import camouflaged_scene
from ipsam.tools.prepare.doctor import diagnose
from ipsam.tools.prepare.doctor.duplicates import (
    HASH_DISTANCE,
    NUM_CANDIDATES,
    ImageHash,
    find_copies,
    find_repetitions,
    image_hash,
)


def altered(image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Copies encoded again or resized, as datasets hold them."""

    def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
        return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)

    def scaled(by: float, how: int) -> np.ndarray:
        return cv2.resize(image, None, fx=by, fy=by, interpolation=how)

    for quality in (90, 50, 20):
        yield f"quality {quality}", jpeg(image, quality)
    for by, how in (
        (0.5, cv2.INTER_LINEAR),
        (0.5, cv2.INTER_NEAREST),
        (0.25, cv2.INTER_LINEAR),
        (1.7, cv2.INTER_CUBIC),
    ):
        yield f"scaled by {by}, interpolation {how}", scaled(by, how)
    yield "third, saved again", jpeg(scaled(0.33, cv2.INTER_AREA), 50)
    yield "squashed", jpeg(cv2.resize(image, (352, 352), interpolation=cv2.INTER_LINEAR), 75)


def check_copies(images: list[np.ndarray]) -> None:
    """Each image is found by each of its copies."""
    originals = [image_hash(image) for image in images]
    forms: dict[str, list[ImageHash]] = {}
    for image in images:
        for form, copy in altered(image):
            forms.setdefault(form, []).append(image_hash(copy))
    for form, hashes in forms.items():
        assert list(find_copies(hashes, originals)) == [(index, [index]) for index in range(len(images))], form


def test_copies_of_scenes_are_found() -> None:
    """The hardest images: low contrast, much noise, a flat spectrum."""
    rng = np.random.default_rng(7)
    scenes = [camouflaged_scene(rng, size=256, difficulty=index / 40).image for index in range(40)]
    assert not list(find_repetitions([image_hash(scene) for scene in scenes]))
    check_copies(scenes)


@pytest.mark.data
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real data in {REAL_DATA} (set IPSAM_TEST_DATA)")
def test_copies_of_real_images_are_found() -> None:
    polyps = sorted((REAL_DATA / "polyp/TrainDataset/images").iterdir())[3::20]
    images = [read_image(path) for path in [*polyps, *sorted((REAL_DATA / "cod/unlabeled").iterdir())]]
    assert not list(find_repetitions([image_hash(image) for image in images]))
    check_copies(images)


def test_equal_hashes_need_similar_thumbnails() -> None:
    """Thumbnails differ: half the image is black, contrast is low, or one is black and one is white."""
    image = picture(3, (200, 300))
    other = np.where(image > 128, image, 0).astype(np.uint8)
    faint = (image.astype(np.float32) * 0.1 + 100).astype(np.uint8)
    black = np.zeros_like(image)
    hashes = [image_hash(one) for one in (image, other, faint, black, black + 255, black + 1)]
    assert hashes[3].bits[1:] == hashes[4].bits[1:] == hashes[5].bits[1:]
    assert list(find_repetitions(hashes)) == [(5, 3)]


def test_most_similar_copy_is_first() -> None:
    image = picture(3, (200, 300))
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 10, image.shape), 0, 255).astype(np.uint8)
    hashes = [image_hash(one) for one in (picture(4), noisy, image, image)]
    assert list(find_repetitions(hashes)) == [(2, 1), (3, 2)]
    assert list(find_copies(hashes[2:], hashes[:3])) == [(0, [2, 1]), (1, [2, 1])]
    assert not list(find_copies([], hashes))
    assert not list(find_copies(hashes, []))


def test_many_equal_images_are_fast() -> None:
    hashes = [image_hash(np.zeros((8, 8, 3), np.uint8))] * 3000
    begin = time.monotonic()
    assert len(list(find_repetitions(hashes))) == 2999
    assert time.monotonic() - begin < 20
    assert NUM_CANDIDATES < 100


def test_hash_distance_limit_holds_in_every_block() -> None:
    rng = np.random.default_rng(0)
    others = [ImageHash(rng.bytes(8), rng.bytes(768)) for _ in range(600)]
    changed = bytearray(others[599].bits)
    changed[0] ^= 0xFF
    changed[1] ^= 0x03
    near = ImageHash(bytes(changed), others[599].thumbnail)
    far = ImageHash(bytes([changed[0], changed[1] ^ 0x04, *changed[2:]]), others[599].thumbnail)
    assert HASH_DISTANCE == 10
    assert list(find_copies([others[0], near, far], others)) == [(0, [0]), (1, [599])]
    assert list(find_repetitions([*others, near, far])) == [(600, 599), (601, 600)]


def test_messages_name_copies_and_the_option_that_excludes_them(tmp_path: Path) -> None:
    one, two = write_set(tmp_path, "one", 0), write_set(tmp_path, "two", 20)
    other, held_out = write_set(tmp_path, "other", 40), write_set(tmp_path, "held_out", 60)
    image = read_image(tmp_path / "one/img/b.jpg")
    save(tmp_path / "two/img/c.jpg", cv2.resize(image, (70, 60), interpolation=cv2.INTER_CUBIC))
    save(tmp_path / "two/gt/c.png", mask((60, 70)))
    for place in ("two/img/d.jpg", "other/img/e.jpg", "held_out/img/f.jpg"):
        save(tmp_path / place, read_image(tmp_path / "one/img/a.jpg"))
    sets = {"train": [one, two], "val": [held_out], "test": [other]}
    data = own_data(tmp_path, **sets)
    diagnosis = examined(data)
    twice, tested = {"training images twice": "remark"}, {"tested on training images": "warning"}
    assert [found(diagnosis, one.label) for one in diagnosis.sets] == [{}, twice, tested, tested]
    assert message(diagnosis, "training images twice") == (
        "two/train: 2 of 6 images are copies of another training image: c.jpg (b.jpg of one/train), "
        "d.jpg (a.jpg of one/train); leave them out with exclude=[two/train/c,two/train/d]"
    )
    assert diagnosis.sets[3].findings[0].message == (
        "other/test: 1 of 6 images are among the training images too, which raises the scores: "
        "e.jpg (d.jpg of two/train); leave the training images out with exclude=[one/train/a,two/train/d]"
    )
    files = ("other/img/e.jpg", "two/img/d.jpg", "one/img/a.jpg")
    assert diagnosis.sets[3].findings[0].files == tuple(tmp_path / name for name in files)
    assert not found(diagnose(data, num_workers=0, duplicates=False))
    again = own_data(tmp_path, **sets, exclude=["one/train/a", "two/train/d", "two/train/c"])
    assert found(examined(again)) == {"left out by exclude": "remark"}  # the advice works
