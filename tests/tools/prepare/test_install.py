"""Releases in their various layouts are installed in the community's layout."""

import errno
import shutil
from pathlib import Path

import pytest

from ipsam.data.benchmarks import KNOWN, benchmark
from ipsam.data.layouts import dataset_pairs, locate_set
from ipsam.tools.prepare.install import check_free, community_layout, expected_layout, find_splits, install


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if not known.only])
def test_installed_sets_are_found(tmp_path: Path, name: str) -> None:
    known = benchmark(name)
    for split in known.layouts:
        layout = community_layout(known, split)
        write(tmp_path / layout.folder, f"{layout.images}/a.jpg", f"{layout.masks}/a.png")
        location = locate_set(name, split, tmp_path)
        assert location.images == tmp_path / layout.folder / layout.images
        assert location.masks == tmp_path / layout.folder / layout.masks


def test_pooled_release_is_split_into_sets(tmp_path: Path) -> None:
    """TrainDataset/{Imgs,GT} holds COD10K and CAMO together; other files are left out."""
    stems = ("COD10K-CAM-1", "COD10K-NonCAM-2", "camourflage_00003")
    write(tmp_path / "cod/TrainDataset", *(f"Imgs/{s}.jpg" for s in stems), *(f"GT/{s}.png" for s in stems))
    write(tmp_path / "cod/TestDataset/CAMO", "Imgs/camourflage_00009.jpg", "GT/camourflage_00009.png")
    splits = find_splits(["CAMO", "COD10K"], tmp_path / "cod")
    assert [(one.name, one.split, one.folder) for one in splits] == [
        ("CAMO", "train", "TrainDataset/CAMO"),
        ("CAMO", "test", "TestDataset/CAMO"),
        ("COD10K", "train", "TrainDataset/COD10K"),
    ]
    root = tmp_path / "data"
    root.mkdir()
    check_free(splits, root)
    assert [install(one, root) for one in splits] == [root / one.folder for one in splits]
    installed = (
        ("TrainDataset/CAMO", stems[2]),
        ("TestDataset/CAMO", "camourflage_00009"),
        ("TrainDataset/COD10K", stems[0]),
    )
    assert below(root) == {f"{folder}/{file}" for folder, s in installed for file in (f"Imgs/{s}.jpg", f"GT/{s}.png")}
    assert sorted(path.name for path in root.iterdir()) == ["TestDataset", "TrainDataset"]


def test_original_camo_release(tmp_path: Path) -> None:
    """One folder holds the masks of both splits."""
    folder = tmp_path / "CAMO-COCO-V.1.0-CVPR2019/CAMO"
    write(folder, "Images/Train/camourflage_00001.jpg", "Images/Test/camourflage_00002.jpg")
    write(folder, "GT/camourflage_00001.png", "GT/camourflage_00002.png")
    train, test = find_splits(["CAMO"], tmp_path)
    assert set(train.files) == {"Imgs/camourflage_00001.jpg", "GT/camourflage_00001.png"}
    assert set(test.files) == {"Imgs/camourflage_00002.jpg", "GT/camourflage_00002.png"}


def test_unmatched_files_are_installed_too(tmp_path: Path) -> None:
    """The data doctor reports them."""
    write(tmp_path / "NC4K", "Imgs/1.jpg", "Imgs/2.jpg", "GT/2.png", "GT/3.png")
    (only,) = find_splits(["NC4K"], tmp_path)
    assert set(only.files) == {"Imgs/1.jpg", "Imgs/2.jpg", "GT/2.png", "GT/3.png"}


def test_lists_split_a_release_and_without_lists_it_is_installed_whole(tmp_path: Path) -> None:
    write(tmp_path / "release/Kvasir-SEG", *(f"{kind}/cju{n}.jpg" for kind in ("images", "masks") for n in range(3)))
    (whole,) = find_splits(["Kvasir-SEG"], tmp_path / "release")
    assert (whole.split, whole.folder) == ("", "Kvasir-SEG")
    assert len(whole.files) == 6
    (tmp_path / "data").mkdir()
    install(whole, tmp_path / "data")
    with pytest.raises(
        FileNotFoundError, match=r"Kvasir-SEG/train\.txt: no such list. An undivided dataset needs a list"
    ):
        dataset_pairs("Kvasir-SEG", "train", tmp_path / "data")
    for split, stems in (("train", "cju0\ncju1\n"), ("test", "cju2\n")):
        (tmp_path / f"release/Kvasir-SEG/{split}.txt").write_text(stems)
    train, test = find_splits(["Kvasir-SEG"], tmp_path / "release")
    assert (train.split, test.split) == ("train", "test")
    assert set(test.files) == {"images/cju2.jpg", "masks/cju2.jpg"}


def test_set_with_a_fixed_list_is_installed_whole(tmp_path: Path) -> None:
    """ECSSD's two archives unpack to two folders."""
    write(
        tmp_path / "release", *(f"{kind}/{n:04}.png" for kind in ("images", "ground_truth_mask") for n in range(1, 9))
    )
    (whole,) = find_splits(["ECSSD"], tmp_path / "release")
    assert (whole.split, whole.folder) == ("", "ECSSD")
    (tmp_path / "data").mkdir()
    install(whole, tmp_path / "data")
    for split, stem in (("train", "0001"), ("test", "0007")):
        location = locate_set("ECSSD", split, tmp_path / "data")
        assert location.masks == tmp_path / "data/ECSSD/ground_truth_mask"
        assert stem in (location.only or ())
    assert "train: 800 pairs of the same name in ECSSD/images and ground_truth_mask" in expected_layout(KNOWN["ECSSD"])


def test_missing_or_unknown_set_is_named(tmp_path: Path) -> None:
    write(tmp_path / "DUTS", "Imgs/1.jpg", "GT/1.png")
    with pytest.raises(
        ValueError, match=r"no CAMO in it: it holds images in DUTS/GT, DUTS/Imgs\. Is it another set"
    ) as caught:
        find_splits(["CAMO"], tmp_path)
    assert expected_layout(benchmark("CAMO")) in str(caught.value)
    with pytest.raises(ValueError, match="unknown dataset 'DUTS'"):
        find_splits(["DUTS"], tmp_path)


def test_nothing_is_overwritten_and_no_partial_copy_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "new/CHAMELEON", "Imgs/1.jpg", "Imgs/2.jpg", "GT/1.png")
    write(tmp_path / "data/TestDataset/CHAMELEON", "Imgs/mine.jpg")
    splits = find_splits(["CHAMELEON"], tmp_path / "new")
    with pytest.raises(ValueError, match=r"there already: .*TestDataset/CHAMELEON; remove it first, or set"):
        check_free(splits, tmp_path / "data")
    shutil.rmtree(tmp_path / "data/TestDataset")
    (tmp_path / "new/CHAMELEON/Imgs/2.jpg").unlink()  # like a disk error halfway
    with pytest.raises(FileNotFoundError):
        install(splits[0], tmp_path / "data")
    assert below(tmp_path / "data") == set()

    def full(source: Path, copy: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(copy))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left") as error:
        install(splits[0], tmp_path / "data")
    assert error.value.filename == str(tmp_path / "data/TestDataset/CHAMELEON")
    assert below(tmp_path / "data") == set()
