"""Copies are found whatever they were saved as, and different pictures are not taken for copies."""

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
from ipsam.tools.prepare.doctor.copies import NUM_CANDIDATES, copies, repetitions
from ipsam.tools.prepare.doctor.fingerprint import HASH_DISTANCE, Fingerprint, fingerprint


def altered(image: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Copies as they are met: saved again, and at other sizes."""

    def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
        return cv2.imdecode(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)

    def scaled(by: float, how: int) -> np.ndarray:
        return cv2.resize(image, None, fx=by, fy=by, interpolation=how)

    for quality in (90, 50, 20):
        yield f"quality {quality}", jpeg(image, quality)
    yield "half", scaled(0.5, cv2.INTER_LINEAR)
    yield "half, nearest", scaled(0.5, cv2.INTER_NEAREST)
    yield "quarter", scaled(0.25, cv2.INTER_LINEAR)
    yield "larger", scaled(1.7, cv2.INTER_CUBIC)
    yield "third, saved again", jpeg(scaled(0.33, cv2.INTER_AREA), 50)
    yield "squashed", jpeg(cv2.resize(image, (352, 352), interpolation=cv2.INTER_LINEAR), 75)


def check_copies(images: list[np.ndarray]) -> None:
    """Each is found in every form, and as itself."""
    originals = [fingerprint(image) for image in images]
    forms: dict[str, list[Fingerprint]] = {}
    for image in images:
        for form, copy in altered(image):
            forms.setdefault(form, []).append(fingerprint(copy))
    for form, prints in forms.items():
        assert list(copies(prints, originals)) == [(index, [index]) for index in range(len(images))], form


def test_copies_of_scenes() -> None:
    """The hardest: little contrast, much noise, all frequencies alike."""
    rng = np.random.default_rng(7)
    scenes = [camouflaged_scene(rng, size=256, difficulty=index / 40).image for index in range(40)]
    assert not list(repetitions([fingerprint(scene) for scene in scenes]))
    check_copies(scenes)


@pytest.mark.data
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real data in {REAL_DATA} (set IPSAM_TEST_DATA)")
def test_copies_of_real_images() -> None:
    polyps = sorted((REAL_DATA / "polyp/TrainDataset/images").iterdir())[3::20]
    images = [read_image(path) for path in [*polyps, *sorted((REAL_DATA / "cod/unlabeled").iterdir())]]
    assert not list(repetitions([fingerprint(image) for image in images]))
    check_copies(images)


def test_equal_hashes_are_not_enough() -> None:
    """The same picture with the brightness turned over half of it, or plain black and plain white."""
    image = picture(3, (200, 300))
    other = np.where(image > 128, image, 0).astype(np.uint8)
    faint = (image.astype(np.float32) * 0.1 + 100).astype(np.uint8)
    black = np.zeros_like(image)
    prints = [fingerprint(one) for one in (image, other, faint, black, black + 255, black + 1)]
    assert prints[3].hash[1:] == prints[4].hash[1:] == prints[5].hash[1:]
    assert list(repetitions(prints)) == [(5, 3)]


def test_the_nearest_is_named_and_only_earlier_ones_in_repetitions() -> None:
    image = picture(3, (200, 300))
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 10, image.shape), 0, 255).astype(np.uint8)
    prints = [fingerprint(one) for one in (picture(4), noisy, image, image)]
    assert list(repetitions(prints)) == [(2, 1), (3, 2)]
    assert list(copies(prints[2:], prints[:3])) == [(0, [2, 1]), (1, [2, 1])]
    assert not list(copies([], prints))
    assert not list(copies(prints, []))


def test_many_equal_pictures_take_no_time() -> None:
    prints = [fingerprint(np.zeros((8, 8, 3), np.uint8))] * 3000
    begin = time.monotonic()
    assert len(list(repetitions(prints))) == 2999
    assert time.monotonic() - begin < 20
    assert NUM_CANDIDATES < 100


def test_a_hash_is_within_its_distance_at_any_place() -> None:
    """Blocks don't matter: a copy is found among 600 others, first or last."""
    rng = np.random.default_rng(0)
    others = [Fingerprint(rng.bytes(8), rng.bytes(768)) for _ in range(600)]
    changed = bytearray(others[599].hash)
    changed[0] ^= 0xFF
    changed[1] ^= 0x03
    near = Fingerprint(bytes(changed), others[599].thumbnail)
    far = Fingerprint(bytes([changed[0], changed[1] ^ 0x04, *changed[2:]]), others[599].thumbnail)
    assert HASH_DISTANCE == 10
    assert list(copies([others[0], near, far], others)) == [(0, [0]), (1, [599])]
    assert list(repetitions([*others, near, far])) == [(600, 599), (601, 600)]


def test_what_is_told_of_copies(tmp_path: Path) -> None:
    one, two = write_set(tmp_path, "one", 0), write_set(tmp_path, "two", 20)
    other, held_out = write_set(tmp_path, "other", 40), write_set(tmp_path, "held_out", 60)
    image = read_image(tmp_path / "one/img/b.jpg")
    save(tmp_path / "two/img/c.jpg", cv2.resize(image, (70, 60), interpolation=cv2.INTER_CUBIC))
    save(tmp_path / "two/gt/c.png", mask((60, 70)))
    for place in ("two/img/d.jpg", "other/img/e.jpg", "held_out/img/f.jpg"):
        save(tmp_path / place, read_image(tmp_path / "one/img/a.jpg"))
    data = own_data(tmp_path, train=[one, two], val=[held_out], test=[other])
    diagnosis = examined(data)
    twice, tested = {"training images twice": "remark"}, {"tested on training images": "warning"}
    assert [found(diagnosis, one.label) for one in diagnosis.sets] == [{}, twice, tested, tested]
    assert message(diagnosis, "training images twice") == (
        "two/train: 2 of 6 images show what another training image shows: c.jpg (b.jpg of one/train), "
        "d.jpg (a.jpg of one/train); leave them out with data.exclude=[two/train/c,two/train/d]"
    )
    assert diagnosis.sets[3].findings[0].message == (
        "other/test: 1 of 6 images are among the training images too, which makes for better scores than on new ones: "
        "e.jpg (d.jpg of two/train); leave the training images out with data.exclude=[one/train/a,two/train/d]"
    )
    files = ("other/img/e.jpg", "two/img/d.jpg", "one/img/a.jpg")
    assert diagnosis.sets[3].findings[0].files == tuple(tmp_path / name for name in files)
    assert not found(diagnose(data, num_workers=0, duplicates=False))
    again = own_data(
        tmp_path, train=[one, two], val=[held_out], test=[other], exclude=["one/train/a", "two/train/d", "two/train/c"]
    )
    assert found(examined(again)) == {"left out by data.exclude": "remark"}  # what is advised helps


def test_a_set_that_is_trained_and_tested_on(tmp_path: Path) -> None:
    spec = write_set(tmp_path, "own", 0)
    diagnosis = examined(own_data(tmp_path, train=[spec], test=[spec]))
    assert found(diagnosis) == {"tested on training images": "warning"}
    assert diagnosis.num_files == 12
    told = message(diagnosis, "tested on training images")
    assert "own/test: 6 of 6 images are among the training images too" in told
    assert told.endswith("own/train/d,own/train/e,...]")
