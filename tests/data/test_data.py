from collections.abc import Iterable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.defaults import data_with
from support.map_files import save

from ipsam.data import Data

SYNTHETIC = {"difficulty": [0.0, 0.2], "num_train": 6, "num_test": 4}


@pytest.fixture
def data(tmp_path: Path) -> Any:
    """Builds data on synthetic scenes and the sets in tmp_path."""

    def make(**options: Any) -> Data:
        given = {"image_size": 64, "root": tmp_path, "train": ["synthetic"], "synthetic": SYNTHETIC}
        return data_with(**given | options)

    return make


def write_pairs(folder: Path, stems: Iterable[str], *, size: tuple[int, int] = (48, 60)) -> dict[str, str]:
    mask = np.zeros(size, np.uint8)
    mask[10:20, 10:30] = 255
    for stem in stems:
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        save(folder / "images" / f"{stem}.jpg", noise)
        save(folder / "masks" / f"{stem}.png", mask)
    return {"name": folder.name, "images": f"{folder.name}/images", "masks": f"{folder.name}/masks"}


def names(dataset: Any) -> list[str]:
    return [dataset.source.read(index, 0).name for index in range(len(dataset))]


def test_nothing_is_held_out_by_default(data: Any) -> None:
    train_set, val_set = data().train_and_val(seed=0)
    assert len(train_set) == 6
    assert val_set is None
    assert data(train=[]).train_and_val(seed=0) == (None, None)


@pytest.mark.parametrize(("fraction", "num_val"), [(0.25, 5), (0.01, 1), (0.5, 10)])
def test_val_fraction_holds_out_by_seed_without_overlap(
    data: Any, tmp_path: Path, fraction: float, num_val: int
) -> None:
    stems = [f"s{number:02d}" for number in range(20)]
    options = {"train": [write_pairs(tmp_path / "own", stems)], "val_fraction": fraction}
    kept, held_out, other = ([names(part) for part in data(**options).train_and_val(seed)] for seed in (1, 1, 2))
    assert len(kept[1]) == num_val
    assert sorted(kept[0] + kept[1]) == stems
    assert kept == held_out != other


def test_named_val_set_is_its_validation_split(data: Any, tmp_path: Path) -> None:
    write_pairs(tmp_path / "TrainDataset", "a")
    write_pairs(tmp_path / "ValDataset", "b")
    train_set, val_set = data(train=["Kvasir-SEG"], val=["Kvasir-SEG"]).train_and_val(seed=0)
    assert names(train_set) == ["a"]
    assert names(val_set) == ["b"]


def test_only_training_scenes_depend_on_the_seed_and_no_split_shares_a_scene(data: Any) -> None:
    given = data(val=["synthetic"], test=["synthetic"], augment={"hflip": 0.0})
    tests, again, val, train, other = (
        [part[index]["image"] for index in range(num)]
        for part, num in (
            *((data(test=["synthetic"]).test_sets()["synthetic"], 4) for _ in range(2)),
            (given.train_and_val(seed=0)[1], 4),
            *((given.train_and_val(seed=seed)[0], 12) for seed in (0, 1)),
        )
    )
    assert all(map(torch.equal, tests, again))
    assert not any(map(torch.equal, train, other))
    for one, two in combinations((tests, val, train, other), 2):
        assert not any(torch.equal(*pair) for pair in product(one, two))


def test_exclude_and_size_mismatch_reach_the_pairs(data: Any, tmp_path: Path) -> None:
    spec = write_pairs(tmp_path / "own", "abc")
    save(tmp_path / "own" / "masks" / "a.png", np.zeros((20, 20), np.uint8))
    for policy, left in (("resize", ["a", "c"]), ("exclude", ["c"])):
        train_set, _ = data(train=[spec], exclude=["b"], size_mismatch=policy).train_and_val(seed=0)
        assert names(train_set) == left
        assert train_set[0]["mask"].shape == (1, 64, 64)
    left_out = data(test=[spec], exclude=["b"], size_mismatch="exclude").test_sets()["own"].left_out
    assert left_out == {"by exclude": ["b"], "of another size than their mask (size_mismatch=exclude)": ["a"]}


def test_sets_are_joined(data: Any, tmp_path: Path) -> None:
    specs = [write_pairs(tmp_path / "one", "ab"), write_pairs(tmp_path / "two", "c")]
    train_set, _ = data(train=[*specs, "synthetic"]).train_and_val(seed=0)
    assert names(train_set) == ["a", "b", "c", *(f"scene_000_{index:05d}" for index in range(6))]


@pytest.mark.parametrize(("crop", "train_shape"), [(1.0, (64, 80, 3)), (0.5, (128, 160, 3))])
def test_scaled_decode_changes_no_mask_and_no_cropped_image(
    data: Any, tmp_path: Path, crop: float, train_shape: tuple[int, int, int]
) -> None:
    spec = write_pairs(tmp_path / "own", "a", size=(128, 160))
    options = {"train": [spec], "test": [spec], "augment": {"crop": crop}}
    plain, scaled = (data(**options, scaled_decode=decode) for decode in (False, True))
    samples = [given.train_and_val(0)[0].source.read(0, 0) for given in (plain, scaled)]
    assert [sample.image.shape for sample in samples] == [(128, 160, 3), train_shape]
    items = [given.train_and_val(0)[0][0] for given in (plain, scaled)]
    assert torch.equal(items[0]["mask"], items[1]["mask"])
    tests = [given.test_sets()["own"] for given in (plain, scaled)]
    assert tests[1].source.read(0, 0).image.shape == (64, 80, 3)
    np.testing.assert_array_equal(tests[0][0]["mask"], tests[1][0]["mask"])


def test_published_number_of_training_pairs_needs_no_files() -> None:
    """Of Kvasir-SEG's several divisions it is the first."""
    data = data_with(image_size=64, root="nowhere", train=["COD10K", "CAMO", "synthetic"], synthetic={"num_train": 60})
    assert data.published_num_train() == 3040 + 1000 + 60
    data = data_with(image_size=64, root="nowhere", train=["Kvasir"], val_fraction=0.1)
    assert data.published_num_train() == 900 - 90
    with pytest.raises(ValueError, match="unknown dataset 'Leaves'"):
        data_with(image_size=64, root="nowhere", train=["Leaves"]).published_num_train()
