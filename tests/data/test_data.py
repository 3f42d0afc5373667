import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.defaults import data_with, synthetic_with

from ipsam.data import Data

SYNTHETIC = {"difficulty": [0.0, 0.2], "num_train": 6, "num_test": 4}


@pytest.fixture
def data(tmp_path: Path) -> Any:
    """Data on synthetic scenes, and on whatever lies in tmp_path."""

    def make(**options: Any) -> Data:
        given = {"image_size": 64, "root": tmp_path, "train": ["synthetic"], "synthetic": SYNTHETIC}
        return data_with(**given | options)

    return make


def write_pairs(folder: Path, stems: list[str], *, size: tuple[int, int] = (48, 60)) -> dict[str, str]:
    rng = np.random.default_rng(0)
    for kind in ("img", "gt"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for stem in stems:
        mask = np.zeros(size, np.uint8)
        mask[10:20, 10:30] = 255
        cv2.imwrite(str(folder / "img" / f"{stem}.jpg"), rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        cv2.imwrite(str(folder / "gt" / f"{stem}.png"), mask)
    return {"name": folder.name, "images": f"{folder.name}/img", "masks": f"{folder.name}/gt"}


def names(dataset: Any, epoch: int = 0) -> list[str]:
    return [dataset.source.read(index, epoch).name for index in range(len(dataset))]


def test_nothing_is_held_out_by_default(data: Any) -> None:
    train_set, val_set = data().train_and_val(seed=0)
    assert len(train_set) == 6
    assert val_set is None


@pytest.mark.parametrize(("fraction", "num_val"), [(0.25, 5), (0.01, 1), (0.5, 10)])
def test_val_fraction_holds_out_without_overlap(data: Any, tmp_path: Path, fraction: float, num_val: int) -> None:
    spec = write_pairs(tmp_path / "own", [f"s{number:02d}" for number in range(20)])
    train_set, val_set = data(train=[spec], val_fraction=fraction).train_and_val(seed=1)
    assert len(val_set) == num_val
    assert sorted(names(train_set) + names(val_set)) == [f"s{number:02d}" for number in range(20)]


def test_val_fraction_depends_on_the_seed_alone(data: Any, tmp_path: Path) -> None:
    spec = write_pairs(tmp_path / "own", [f"s{number:02d}" for number in range(20)])
    first, again, other = (
        names(data(train=[spec], val_fraction=0.3).train_and_val(seed=seed)[1]) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_val_and_val_fraction_exclude_each_other(data: Any) -> None:
    with pytest.raises(ValueError, match=r"data: val and val_fraction exclude each other"):
        data(val=["Kvasir-SEG"], val_fraction=0.1)


def test_a_named_val_set_is_its_validation_split(data: Any, tmp_path: Path) -> None:
    for folder, stem in (("TrainDataset", "a"), ("ValDataset", "b")):
        write_pairs(tmp_path / folder, [stem])
        (tmp_path / folder / "img").rename(tmp_path / folder / "images")
        (tmp_path / folder / "gt").rename(tmp_path / folder / "masks")
    train_set, val_set = data(train=["Kvasir-SEG"], val=["Kvasir-SEG"]).train_and_val(seed=0)
    assert names(train_set) == ["a"]
    assert names(val_set) == ["b"]


def test_synthetic_test_scenes_do_not_depend_on_the_runs_seed(data: Any) -> None:
    """And training scenes do; none of them is a test scene, and none that is held out is one either."""
    test_set = data(test=["synthetic"]).test_sets()["synthetic"]
    assert len(test_set) == 4
    tests = [test_set[index]["image"] for index in range(4)]
    again = data(test=["synthetic"]).test_sets()["synthetic"]
    assert all(torch.equal(again[index]["image"], tests[index]) for index in range(4))
    plain = {"augment": {"hflip": 0.0}}
    by_seed = [data(**plain).train_and_val(seed=seed)[0] for seed in (0, 1)]
    trains = [[train_set[index]["image"] for index in range(12)] for train_set in by_seed]
    assert not any(torch.equal(train, test) for part in trains for train in part for test in tests)
    assert not any(torch.equal(one, other) for one, other in zip(*trains, strict=True))


def test_synthetic_val_scenes_are_no_test_scenes(data: Any) -> None:
    """A checkpoint is never chosen on what it is then tested on."""
    given = data(val=["synthetic"], test=["synthetic"])
    val_set, test_set = given.train_and_val(seed=0)[1], given.test_sets()["synthetic"]
    assert len(val_set) == 4
    assert not any(
        np.array_equal(val_set[one]["mask"], test_set[other]["mask"]) for one in range(4) for other in range(4)
    )


def test_sets_are_joined(data: Any, tmp_path: Path) -> None:
    specs = [write_pairs(tmp_path / "one", ["a", "b"]), write_pairs(tmp_path / "two", ["c"])]
    train_set, _ = data(train=[*specs, "synthetic"]).train_and_val(seed=0)
    assert names(train_set)[:4] == ["a", "b", "c", "scene_000_00000"]
    assert len(train_set) == 9


def test_a_folder_pair_is_tested_under_its_name(data: Any, tmp_path: Path) -> None:
    spec = write_pairs(tmp_path / "own", ["a", "b"])
    test_sets = data(test=[spec, "synthetic"]).test_sets()
    assert list(test_sets) == ["own", "synthetic"]
    assert test_sets["own"][1]["mask"].shape == (48, 60)


def test_exclude_leaves_out(data: Any, tmp_path: Path) -> None:
    spec = write_pairs(tmp_path / "own", ["a", "b", "c"])
    assert names(data(train=[spec], exclude=["b"]).train_and_val(seed=0)[0]) == ["a", "c"]


@pytest.mark.parametrize(("policy", "left"), [("resize", ["a", "b"]), ("exclude", ["b"])])
def test_size_mismatch_does_as_told(data: Any, tmp_path: Path, policy: str, left: list[str]) -> None:
    spec = write_pairs(tmp_path / "own", ["a", "b"])
    cv2.imwrite(str(tmp_path / "own" / "gt" / "a.png"), np.zeros((20, 20), np.uint8))
    with pytest.raises(ValueError, match=r"1 of 2 pairs image and mask differ in size .*a\.jpg 48x60 with mask 20x20"):
        data(train=[spec]).train_and_val(seed=0)
    train_set, _ = data(train=[spec], size_mismatch=policy).train_and_val(seed=0)
    assert names(train_set) == left
    assert train_set[0]["mask"].shape == (1, 64, 64)


@pytest.mark.parametrize(("crop", "train_shape"), [(1.0, (64, 80, 3)), (0.5, (128, 160, 3))])
def test_scaled_decode_changes_no_mask_and_no_cropped_image(
    data: Any, tmp_path: Path, crop: float, train_shape: tuple[int, int, int]
) -> None:
    spec = write_pairs(tmp_path / "own", ["a"], size=(128, 160))
    options = {"train": [spec], "test": [spec], "augment": {"crop": crop}}
    plain, scaled = (data(**options, scaled_decode=decode) for decode in (False, True))
    samples = [given.train_and_val(0)[0].source.read(0, 0) for given in (plain, scaled)]
    assert [sample.image.shape for sample in samples] == [(128, 160, 3), train_shape]
    items = [given.train_and_val(0)[0][0] for given in (plain, scaled)]
    assert torch.equal(items[0]["mask"], items[1]["mask"])
    tests = [given.test_sets()["own"] for given in (plain, scaled)]
    assert tests[1].source.read(0, 0).image.shape == (64, 80, 3)
    np.testing.assert_array_equal(tests[0][0]["mask"], tests[1][0]["mask"])


def test_a_missing_set_says_where_it_was_looked_for(data: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"CAMO/test: not found in {tmp_path}.*Set root=FOLDER"):
        data(test=["CAMO"]).test_sets()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_fraction": 1.0}, r"data\.val_fraction must be a number of at least 0 and below 1, not 1\.0"),
        ({"val_fraction": -0.1}, r"data\.val_fraction must be"),
        ({"synthetic": {"difficulty": [0.5, 0.2]}}, r"data\.synthetic\.difficulty"),
        ({"synthetic": {"difficulty": [0.0, 1.2]}}, r"data\.synthetic\.difficulty"),
        ({"synthetic": {"difficulty": [0.5]}}, r"data\.synthetic\.difficulty"),
        (
            {"synthetic": {"num_test": 0}},
            r"data\.synthetic\.num_test must be .* from 1 to 1,000,000, not 0",
        ),
        ({"synthetic": {"num_train": 10**9}}, r"data\.synthetic\.num_train must be .*, not 10000"),
        ({"image_size": 4097}, r"data\.image_size must be a whole number of pixels from 1 to 4,096, not 4097"),
        ({"augment": {"jitter": math.nan}}, r"data\.augment\.jitter must be a number of at least 0, not nan"),
        ({"augment": {"crop": 0.0}}, r"data\.augment\.crop"),
    ],
)
def test_impossible_options_are_named_at_once(data: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data(**options)


@pytest.mark.parametrize("section", ["synthetic", "augment"])
def test_unknown_keys_are_named(data: Any, section: str) -> None:
    with pytest.raises(ValueError, match=rf"data\.{section}\.colour: unknown key; there are "):
        data(**{section: {"colour": 1}})


def test_no_training_set_is_none_and_a_set_named_twice_is_refused(data: Any) -> None:
    assert data(train=[]).train_and_val(seed=0) == (None, None)
    with pytest.raises(ValueError, match=r"test=\[\.\.\.\] names synthetic more than once"):
        data(test=["synthetic", "synthetic"]).test_sets()


def test_a_small_part_of_a_small_set_leaves_something_to_train_on(data: Any, tmp_path: Path) -> None:
    spec = write_pairs(tmp_path / "own", ["a"])
    with pytest.raises(ValueError, match=r"val_fraction=0\.5 of 1 training pairs leaves none"):
        data(train=[spec], val_fraction=0.5).train_and_val(seed=0)


def test_difficulty_reaches_the_scenes() -> None:
    source = synthetic_with(difficulty=(0.3, 0.4)).source(split="train", size=64, seed=0)
    assert source.difficulty == (0.3, 0.4)
    assert source.size == 64
