import copy
import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock
from support.defaults import data_with

from ipsam.data import Data
from ipsam.data.cache import CachedSource, cache_key, cached
from ipsam.data.pairs import Pair
from ipsam.data.sources import FolderSource, Sample, Source

SIDE = 32
NUM_PAIRS = 5
RECORD = 4 * SIDE * SIDE + 4


class SlowSource(FolderSource):
    """Slow source that leaves a file beside each pair it reads, and refuses to read a pair twice."""

    def read(self, index: int, epoch: int) -> Sample:
        (self.pairs[index].image.parent / f"{self.pairs[index].stem}.read").touch(exist_ok=False)
        time.sleep(0.1)
        return super().read(index, epoch)


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    rng, found = np.random.default_rng(0), []
    (tmp_path / "own").mkdir()
    for number in range(NUM_PAIRS):
        image, mask = (tmp_path / "own" / f"{number}{kind}" for kind in (".jpg", ".png"))
        size = (40 + number, 70)
        cv2.imwrite(str(image), cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), size[::-1]))
        cv2.imwrite(str(mask), cv2.resize(rng.integers(0, 2, (5, 5), dtype=np.uint8) * 255, size[::-1], None, 0, 0, 0))
        found.append(Pair(str(number), image, mask))
    return found


@pytest.fixture
def make(tmp_path: Path, pairs: list[Pair]) -> Callable[..., Data]:
    """Builds data on the pairs, with the cache in tmp_path / cache by default."""
    for kind in ("image", "mask"):
        (tmp_path / kind).mkdir()
        for pair in pairs:
            shutil.copy(getattr(pair, kind), tmp_path / kind)
    own = {"name": "own", "images": "image", "masks": "mask"}
    given = {"image_size": SIDE, "root": tmp_path, "train": [own], "cache": tmp_path / "cache"}
    return lambda **options: data_with(**given | options)


def whole(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.bin"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scaled_decode": True, "image_size": 16},
        {"letterbox": True, "val_fraction": 0.4},
        {"val_fraction": 0.4},
        {"augment": {"hflip": 0.5, "vflip": 0.5, "rotate": 20.0, "jitter": 0.3}},
    ],
    ids=str,
)
def test_items_are_bit_equal_with_and_without_cache(make: Callable[..., Data], options: dict[str, Any]) -> None:
    (plain, plain_val), (kept, kept_val) = (
        make(**options, cache=folder).train_and_val(seed=3) for folder in (None, make().cache)
    )
    assert kept.source.names() == plain.source.names()
    assert list(kept.source.listing()) == list(plain.source.listing())
    for index in range(3 * len(plain)):
        assert kept[index]["name"] == plain[index]["name"]
        for part in ("image", "mask"):
            assert torch.equal(kept[index][part], plain[index][part])
    for index in range(0 if plain_val is None else len(plain_val)):
        np.testing.assert_array_equal(kept_val[index]["mask"], plain_val[index]["mask"])  # at its own size
        assert torch.equal(kept_val[index]["image"], plain_val[index]["image"])


def test_cache_is_a_source_of_pairs_at_the_networks_size(pairs: list[Pair], tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    source = cached(FolderSource(pairs), tmp_path / "new" / "cache", image_size=SIDE)
    assert isinstance(source, Source)
    with FileLock(source.path.with_suffix(".lock"), timeout=0):
        pass  # the build has released it
    sample = source.read(2, epoch=7)
    assert (sample.name, sample.image.shape, sample.mask.shape) == ("2", (SIDE, SIDE, 3), (SIDE, SIDE))
    assert set(np.unique(sample.mask)) <= {0, 255}
    before = source.path.read_bytes()
    sample.image[:] = 0  # as an augmentation in place would
    assert source.path.read_bytes() == before
    assert len(before) == NUM_PAIRS * RECORD
    assert f"5 pairs at 32 px are read from the cache {source.path} (0.0 GB)" in caplog.text
    assert not list((tmp_path / "new" / "cache").glob("*.unfinished"))


def test_no_file_is_decoded_again(pairs: list[Pair], tmp_path: Path) -> None:
    for _ in range(2):
        source = cached(SlowSource(pairs), tmp_path / "cache", image_size=SIDE)
    assert len(source) == NUM_PAIRS
    assert whole(tmp_path / "cache") == [source.path.name]


def test_key_changes_with_all_that_decides_the_content(pairs: list[Pair], tmp_path: Path) -> None:
    image, longer = pairs[1].image, pairs[2].mask

    def lengthen() -> None:
        status = longer.stat()
        longer.write_bytes(longer.read_bytes() + b" ")
        os.utime(longer, ns=(status.st_atime_ns, status.st_mtime_ns))

    keys = [
        cache_key(FolderSource(pairs), SIDE),
        cache_key(FolderSource(pairs), 64),
        cache_key(FolderSource(pairs), SIDE, letterbox=True),
        cache_key(FolderSource(pairs, at_least=SIDE), SIDE),
        cache_key(FolderSource(pairs, 100), SIDE),
        cache_key(FolderSource(pairs[:-1]), SIDE),
        cache_key(FolderSource(pairs[::-1]), SIDE),
    ]
    assert cache_key(FolderSource(pairs), SIDE) == keys[0]
    for change in (lambda: os.utime(image, ns=(1, image.stat().st_mtime_ns + 1)), lengthen):
        change()
        keys.append(cache_key(FolderSource(pairs), SIDE))
    moved_to = (tmp_path / "own").rename(tmp_path / "moved")
    moved = [Pair(pair.stem, moved_to / pair.image.name, moved_to / pair.mask.name) for pair in pairs]
    keys.append(cache_key(FolderSource(moved), SIDE))
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("num_bytes", [0, RECORD, NUM_PAIRS * RECORD - 1, NUM_PAIRS * RECORD + 1])
def test_cache_of_another_length_is_rebuilt(pairs: list[Pair], tmp_path: Path, num_bytes: int) -> None:
    path = cached(FolderSource(pairs), tmp_path, image_size=SIDE).path
    content = path.read_bytes()
    path.write_bytes((content + b" ")[:num_bytes])
    assert cached(FolderSource(pairs), tmp_path, image_size=SIDE).path == path
    assert path.read_bytes() == content


@pytest.mark.parametrize("damage", [slice(None), slice(100, 101), slice(RECORD - 1, RECORD), slice(-9, None)], ids=str)
def test_damaged_cache_is_rebuilt_or_passed_over(
    pairs: list[Pair], tmp_path: Path, damage: slice, caplog: pytest.LogCaptureFixture
) -> None:
    """Its length is right, as after a crash of the machine."""
    source = cached(FolderSource(pairs), tmp_path, image_size=SIDE)
    whole, before = source.path.read_bytes(), [copy.deepcopy(source.read(index, 0)) for index in range(NUM_PAIRS)]
    damaged = np.frombuffer(whole, np.uint8).copy()
    damaged[damage] ^= damaged[damage] if damage == slice(None) else 1
    source.path.write_bytes(damaged.tobytes())
    source = replace(source, _checked=set())  # as in a later process
    for index, sample in enumerate(before):
        again = source.read(index, 0)
        np.testing.assert_array_equal(again.image, sample.image)
        np.testing.assert_array_equal(again.mask, sample.mask)
        again.image[:] = 0
    assert "is damaged and read from its files; delete the cache" in caplog.text
    assert cached(FolderSource(pairs), tmp_path, image_size=SIDE).path.read_bytes() == whole
    assert "is damaged; it is built anew" in caplog.text


def started(source: FolderSource, folder: Path) -> Any:
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=cached, args=(source, folder), kwargs={"image_size": SIDE})
    process.start()
    return process


def test_one_of_two_processes_builds_and_the_other_waits(pairs: list[Pair], tmp_path: Path) -> None:
    """A pair that both read would be an error."""
    processes = [started(SlowSource(pairs), tmp_path / "cache") for _ in range(2)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert len(whole(tmp_path / "cache")) == 1
    source = cached(FolderSource(pairs), tmp_path / "cache", image_size=SIDE)
    plain = cached(FolderSource(pairs), tmp_path / "other", image_size=SIDE)
    assert source.path.read_bytes() == plain.path.read_bytes()


def test_killed_build_is_restarted(pairs: list[Pair], tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    process = started(SlowSource(pairs), folder)
    while not list((tmp_path / "own").glob("*.read")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert whole(folder) == []
    assert len(list(folder.glob("*.unfinished"))) == 1
    source = cached(FolderSource(pairs), folder, image_size=SIDE)
    plain = cached(FolderSource(pairs), tmp_path / "other", image_size=SIDE)
    assert source.path.read_bytes() == plain.path.read_bytes()
    assert not list(folder.glob("*.unfinished"))


def test_too_little_space_is_named_before_anything_is_read(
    pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    message = rf"cache={tmp_path}: can't hold .* take 1\.3 GB \(No space left .*name another folder.*=null"
    with pytest.raises(ValueError, match=message):
        cached(SlowSource(pairs), tmp_path, image_size=8192)
    assert not list((tmp_path / "own").glob("*.read"))


def test_synthetic_scenes_are_not_cached(make: Callable[..., Data], tmp_path: Path) -> None:
    scenes = {"difficulty": [0.0, 0.1], "num_train": 2}
    own = make().train[0]
    train_set, _ = make(train=[own, "synthetic"], synthetic=scenes).train_and_val(0)
    assert isinstance(train_set.source.sources[0], CachedSource)
    assert train_set[NUM_PAIRS]["name"] == "scene_000_00000"
    make(train=["synthetic"], synthetic=scenes, cache=tmp_path / "unused").train_and_val(0)
    assert not (tmp_path / "unused").exists()
