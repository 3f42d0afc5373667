from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ipsam.data.images import read_mask
from ipsam.data.saved_maps import map_pairs
from ipsam.data.saved_maps.map_pairs import PairedMaps, SavedMap
from ipsam.engine.evaluate.parts import Parts, ShardsMissingError
from ipsam.engine.evaluate.scores import Scored
from ipsam.engine.evaluate.scoring import score_sets
from ipsam.engine.metrics import Protocol
from ipsam.tools.compare import comparison
from ipsam.tools.compare.comparison import score_maps
from ipsam.tools.compare.request import MapSet
from ipsam.utils.shards import Shard


def test_num_workers_reaches_every_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def spy(name: str, sets: Any, *, protocol: Protocol, num_workers: int) -> list[Scored]:
        calls.append((name, num_workers))
        return score_sets(name, sets, protocol=protocol, num_workers=0)

    monkeypatch.setattr(comparison, "score_sets", spy)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.eye(9, dtype=np.uint8) * np.uint8(255))
    sets = [MapSet("mine", name, PairedMaps([SavedMap("a", path, path)], {})) for name in ("CAMO", "NC4K")]
    scores = score_maps(sets, Protocol(), num_workers=3)
    assert scores is not None
    assert calls == [("CAMO", 3), ("NC4K", 3)]
    assert scores.methods["mine"].datasets["NC4K"]["mae"] == 0


def test_shards_score_as_one_command(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(10):
        cv2.imwrite(str(tmp_path / f"{number}.png"), (rng.random((9, 9)) > 0.5).astype(np.uint8) * np.uint8(255))
    maps = [SavedMap(str(number), tmp_path / f"{number}.png", tmp_path / "0.png") for number in range(10)]
    sets = [MapSet(name, "CAMO", PairedMaps(maps[:num], {})) for name, num in (("mine", 10), ("other", 1))]
    whole = score_maps(sets, Protocol(), num_workers=0)
    assert whole is not None
    for index in (2, 0, 1):
        parts = Parts.of(tmp_path, Shard(index, 3))
        with nullcontext() if index == 1 else pytest.raises(ShardsMissingError):
            shared = score_maps(sets, Protocol(), num_workers=0, parts=parts)
    assert shared == whole
    ours, theirs = (one.methods["mine"].curves["CAMO"] for one in (shared, whole))
    assert all(np.array_equal(curve, ours[name]) for name, curve in theirs.items())


def test_methods_share_the_reading_of_a_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(map_pairs, "read_mask", lambda path, above: read.append(path) or read_mask(path, above))
    masks = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(masks):
        cv2.imwrite(str(path), np.eye(9 + number, dtype=np.uint8) * np.uint8(255))
    maps = [SavedMap(path.stem, path, path) for path in masks]
    sets = [MapSet(name, "CAMO", PairedMaps(found, {})) for name, found in (("all", maps), ("two", maps[:2]))]
    scores = score_maps(sets, Protocol(), num_workers=0)
    assert scores is not None
    assert [scores.methods[name].images["CAMO"].names for name in ("all", "two")] == [["0", "1", "2"], ["0", "1"]]
    assert read == masks
