import logging
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
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
RECORD = 4 * SIDE * SIDE


class SlowSource(FolderSource):
    """Takes its time, and counts what it reads by files beside it; a pair is never read twice."""

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
    """Data on the pairs, laid out as in a folder pair, the cache in tmp_path / cache unless told otherwise."""
    for kind, name in (("image", "img"), ("mask", "gt")):
        (tmp_path / name).mkdir()
        for pair in pairs:
            shutil.copy(getattr(pair, kind), tmp_path / name)
    spec = {"name": "own", "images": "img", "masks": "gt"}

    def data(**options: Any) -> Data:
        return data_with(
            **{"image_size": SIDE, "root": tmp_path, "train": [spec], "cache": tmp_path / "cache"} | options
        )

    return data


def whole(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.bin"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scaled_decode": True, "image_size": 16},
        {"val_fraction": 0.4},
        {"augment": {"hflip": 0.5, "vflip": 0.5, "rotate": 20.0, "jitter": 0.3}},
    ],
    ids=str,
)
def test_items_are_bit_equal_with_and_without_cache(make: Callable[..., Data], options: dict[str, Any]) -> None:
    (plain, plain_val), (kept, kept_val) = (
        make(**options, cache=folder).train_and_val(seed=3) for folder in (None, make().cache)
    )
    assert plain is not None
    assert kept is not None
    assert kept.source.names() == plain.source.names()
    assert list(kept.source.listing()) == list(plain.source.listing())
    for index in range(3 * len(plain)):
        assert kept[index]["name"] == plain[index]["name"]
        for part in ("image", "mask"):
            assert torch.equal(kept[index][part], plain[index][part])
    for index in range(0 if plain_val is None else len(plain_val)):
        assert plain_val is not None
        assert kept_val is not None
        np.testing.assert_array_equal(kept_val[index]["mask"], plain_val[index]["mask"])  # at its own size
        assert torch.equal(kept_val[index]["image"], plain_val[index]["image"])


def test_cache_is_a_source_of_pairs_at_the_networks_size(pairs: list[Pair], tmp_path: Path, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    source = cached(FolderSource(pairs), tmp_path / "new" / "cache", image_size=SIDE)
    assert isinstance(source, Source)
    sample = source.read(2, epoch=7)
    assert (sample.name, sample.image.shape, sample.mask.shape) == ("2", (SIDE, SIDE, 3), (SIDE, SIDE))
    assert set(np.unique(sample.mask)) <= {0, 255}
    before = source.path.read_bytes()
    sample.image[:] = 0  # as what augments in place would
    assert source.path.read_bytes() == before
    assert len(before) == NUM_PAIRS * RECORD
    assert f"5 pairs at 32 px are read from the cache {source.path} (0.0 GB)" in caplog.text
    assert not list((tmp_path / "new" / "cache").glob("*.unfinished"))


def test_no_file_is_decoded_again(pairs: list[Pair], tmp_path: Path) -> None:
    for _ in range(2):
        source = cached(SlowSource(pairs), tmp_path / "cache", image_size=SIDE)
    assert len(source) == NUM_PAIRS
    assert whole(tmp_path / "cache") == [source.path.name]


def test_whatever_decides_the_content_changes_the_key(pairs: list[Pair], tmp_path: Path) -> None:
    image, longer = pairs[1].image, pairs[2].mask

    def touch() -> None:
        os.utime(image, ns=(1, image.stat().st_mtime_ns + 1))

    def lengthen() -> None:
        status = longer.stat()
        longer.write_bytes(longer.read_bytes() + b" ")
        os.utime(longer, ns=(status.st_atime_ns, status.st_mtime_ns))

    def move() -> None:
        (tmp_path / "own").rename(tmp_path / "moved")

    seen = [
        cache_key(FolderSource(pairs), SIDE),
        cache_key(FolderSource(pairs), 64),
        cache_key(FolderSource(pairs, at_least=SIDE), SIDE),
        cache_key(FolderSource(pairs, 100), SIDE),
        cache_key(FolderSource(pairs[:-1]), SIDE),
        cache_key(FolderSource(pairs[::-1]), SIDE),
    ]
    assert cache_key(FolderSource(pairs), SIDE) == seen[0]
    for change in (touch, lengthen):
        change()
        seen.append(cache_key(FolderSource(pairs), SIDE))
    move()
    moved = [Pair(p.stem, tmp_path / "moved" / p.image.name, tmp_path / "moved" / p.mask.name) for p in pairs]
    seen.append(cache_key(FolderSource(moved), SIDE))
    assert len(set(seen)) == len(seen)


def test_changed_file_is_read_again(make: Callable[..., Data], tmp_path: Path) -> None:
    before = make().train_and_val(0)[0]
    cv2.imwrite(str(tmp_path / "img" / "3.jpg"), np.zeros((43, 70, 3), np.uint8))
    after = make().train_and_val(0)[0]
    assert before is not None
    assert after is not None
    assert before[3]["image"].any()
    assert not after[3]["image"].any()
    assert len(whole(tmp_path / "cache")) == 2  # old ones are their owner's


@pytest.mark.parametrize("num_bytes", [0, RECORD, NUM_PAIRS * RECORD - 1, NUM_PAIRS * RECORD + 1])
def test_cache_of_another_length_is_rebuilt(pairs: list[Pair], tmp_path: Path, num_bytes: int) -> None:
    path = cached(FolderSource(pairs), tmp_path, image_size=SIDE).path
    content = path.read_bytes()
    path.write_bytes((content + b" ")[:num_bytes])
    assert cached(FolderSource(pairs), tmp_path, image_size=SIDE).path == path
    assert path.read_bytes() == content


def build(source: FolderSource, folder: Path) -> None:
    cached(source, folder, image_size=SIDE)


def started(source: FolderSource, folder: Path) -> Any:
    process = multiprocessing.get_context("fork").Process(target=build, args=(source, folder))
    process.start()
    return process


def test_one_of_two_processes_builds_and_the_other_waits(pairs: list[Pair], tmp_path: Path) -> None:
    """A pair that is read by both would be an error."""
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


def test_lock_is_released(pairs: list[Pair], tmp_path: Path) -> None:
    path = cached(FolderSource(pairs), tmp_path, image_size=SIDE).path
    with FileLock(path.with_suffix(".lock"), timeout=0):
        pass


def test_crops_exclude_the_cache(make: Callable[..., Data]) -> None:
    with pytest.raises(ValueError, match=r"augment\.crop=0\.5 would take a part: set cache=null or"):
        make(augment={"crop": 0.5})
    make(augment={"crop": 0.5}, cache=None)


def test_synthetic_scenes_are_not_cached(make: Callable[..., Data], tmp_path: Path) -> None:
    scenes = {"difficulty": [0.0, 0.1], "num_train": 2}
    own = make().train[0]
    train_set, _ = make(train=[own, "synthetic"], synthetic=scenes).train_and_val(0)
    assert train_set is not None
    assert isinstance(train_set.source.sources[0], CachedSource)
    assert train_set[NUM_PAIRS]["name"] == "scene_000_00000"
    make(train=["synthetic"], synthetic=scenes, cache=tmp_path / "unused").train_and_val(0)
    assert not (tmp_path / "unused").exists()
