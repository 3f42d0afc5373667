from pathlib import Path

import cv2
import numpy as np
import pytest
from support.map_files import save

from ipsam.data.pairs import Pair
from ipsam.data.sources import FolderSource, JoinedSource, Sample, Source, SubsetSource, SyntheticSource

SCENES = SyntheticSource(length=3, size=64, difficulty=(0.0, 0.5), stream=(1, 7))


def equal(one: Sample, other: Sample) -> bool:
    return np.array_equal(one.image, other.image) and np.array_equal(one.mask, other.mask)


@pytest.fixture
def folder(tmp_path: Path) -> FolderSource:
    rng = np.random.default_rng(0)
    pairs = []
    for stem in ("one", "two"):
        image = save(tmp_path / f"{stem}.png", rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
        mask = save(tmp_path / f"{stem}_mask.png", rng.integers(0, 2, (40, 50), dtype=np.uint8) * np.uint8(255))
        pairs.append(Pair(stem, image, mask))
    return FolderSource(pairs)


def test_folder_is_read_as_stored_in_every_epoch(folder: FolderSource) -> None:
    sample = folder.read(1, epoch=0)
    assert sample.name == "two"
    assert sample.image.shape == (40, 50, 3)
    assert set(np.unique(sample.mask)) == {0, 255}
    np.testing.assert_array_equal(sample.image[..., ::-1], cv2.imread(str(folder.pairs[1].image)))  # RGB, not BGR
    assert equal(sample, folder.read(1, epoch=5))
    assert len(folder) == 2


def test_scenes_are_the_same_for_the_same_numbers_only() -> None:
    assert equal(SCENES.read(1, 2), SyntheticSource(9, 64, (0.0, 0.5), (1, 7)).read(1, 2))
    others = [
        SCENES.read(2, 2),
        SCENES.read(1, 3),
        SyntheticSource(3, 64, (0.0, 0.5), (1, 8)).read(1, 2),
        SyntheticSource(3, 64, (0.0, 0.5), (0,)).read(1, 2),
    ]
    assert not any(equal(SCENES.read(1, 2), other) for other in others)


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
