from pathlib import Path

import numpy as np
import pytest
from support.map_files import save

from ipsam.data.pairs import Pair
from ipsam.data.sources import FolderSource, JoinedSource, Source, SubsetSource, SyntheticSource

SCENES = SyntheticSource(length=3, size=64, difficulty=(0.0, 0.5), stream=(1, 7))


@pytest.fixture
def folder(tmp_path: Path) -> FolderSource:
    rng = np.random.default_rng(0)
    pairs = []
    for stem in ("one", "two"):
        image = save(tmp_path / f"{stem}.png", rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
        mask = save(tmp_path / f"{stem}_mask.png", rng.integers(0, 2, (40, 50), dtype=np.uint8) * np.uint8(255))
        pairs.append(Pair(stem, image, mask))
    return FolderSource(pairs)


def test_subset_and_joined_sources_map_indices(folder: FolderSource) -> None:
    joined = JoinedSource([folder, SCENES])
    assert len(joined) == 5
    assert [joined.read(index, 0).name for index in range(3)] == ["one", "two", "scene_000_00000"]
    part = SubsetSource(joined, [4, 0])
    assert len(part) == 2
    assert [part.read(index, 1).name for index in range(2)] == ["scene_001_00002", "one"]
    with pytest.raises(IndexError):
        joined.read(5, 0)


def test_all_sources_have_names_without_reading(folder: FolderSource) -> None:
    joined = JoinedSource([folder, SCENES])
    for source in (folder, SCENES, joined, SubsetSource(joined, [4, 0])):
        assert isinstance(source, Source)
        assert source.names() == [source.read(index, epoch=0).name for index in range(len(source))]
    for pair in folder.pairs:
        pair.image.unlink()
    assert folder.names() == ["one", "two"]
