import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from support.builders import REAL_DATA
from support.map_files import save

from ipsam.data.benchmarks import KNOWN, benchmark
from ipsam.data.images import image_size, read_image, read_mask
from ipsam.data.layouts import dataset_pairs
from ipsam.data.pairs import Pair

real_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real data in {REAL_DATA} (set IPSAM_TEST_DATA)")

BLACK = np.zeros((4, 5), np.uint8)
COD_STEMS = ["COD10K-CAM-1-Aquatic-1-BatFish-1", "COD10K-CAM-2-Terrestrial-3"]
CAMO_STEMS = ["camourflage_00001", "camourflage_00002", "camouflage_00003"]


def fill(root: Path, images: str, masks: str, stems: Iterable[str], suffix: str = ".jpg") -> None:
    """Make black images, with ``suffix``, and masks, which are PNGs unless the images are TIFFs."""
    for folder, ending in ((images, suffix), (masks, suffix if suffix == ".tif" else ".png")):
        for stem in stems:
            save(root / folder / f"{stem}{ending}", BLACK)


def stems(pairs: list[Pair]) -> list[str]:
    return [pair.stem for pair in pairs]


LAYOUTS = [
    ("COD10K", "train", "TrainDataset/Imgs", "TrainDataset/GT"),
    ("COD10K", "train", "TrainValDataset/Imgs", "TrainValDataset/GT"),
    ("COD10K", "train", "Train/COD10K-TR/Image", "Train/COD10K-TR/Mask"),
    ("COD10K", "train", "COD/TR-COD10K/im", "COD/TR-COD10K/gt"),
    ("COD10K", "train", "COD10K-v2/Train/Image", "COD10K-v2/Train/GT_Object"),
    ("COD10K", "train", "COD10K-v3/Train/Image", "COD10K-v3/Train/GT_Object"),
    ("COD10K", "train", "Train/Image", "Train/GT_Object"),
    ("COD10K", "test", "TestDataset/COD10K/Imgs", "TestDataset/COD10K/GT"),
    ("COD10K", "test", "Test/COD10K/Image", "Test/COD10K/GT"),
    ("COD10K", "test", "COD/TE-COD10K/im", "COD/TE-COD10K/gt"),
    ("COD10K", "test", "COD10K-v3/Test/Image", "COD10K-v3/Test/GT_Object"),
    ("CAMO", "train", "TrainDataset/Imgs", "TrainDataset/GT"),
    ("CAMO", "train", "Images/Train", "Train_gt"),
    ("CAMO", "train", "CAMO-COCO-V.1.0-CVPR2019/CAMO/Images/Train", "CAMO-COCO-V.1.0-CVPR2019/CAMO/GT"),
    ("CAMO", "test", "TestDataset/CAMO/Imgs", "TestDataset/CAMO/GT"),
    ("CAMO", "test", "Images/Test", "Test_gt"),
    ("CAMO", "test", "Images/Test", "Images/Test_gt"),
    ("CAMO", "test", "CAMO/Images/Test", "CAMO/GT"),
    ("CHAMELEON", "test", "TestDataset/CHAMELEON/Imgs", "TestDataset/CHAMELEON/GT"),
    ("CHAMELEON", "test", "chameleon/Image", "chameleon/GT"),
    ("NC4K", "test", "TestDataset/NC4K/Imgs", "TestDataset/NC4K/GT"),
    ("NC4K", "test", "NC4K/imgs", "NC4K/gt"),
    ("Kvasir-SEG", "train", "TrainDataset/images", "TrainDataset/masks"),
    ("Kvasir-SEG", "val", "ValDataset/images", "ValDataset/masks"),
    ("Kvasir-SEG", "test", "TestDataset/Kvasir/images", "TestDataset/Kvasir/masks"),
    ("Kvasir", "test", "testdataset/Kvasir-SEG/Images", "testdataset/Kvasir-SEG/Masks"),
    ("CVC-ClinicDB", "test", "TestDataset/CVC-ClinicDB/images", "TestDataset/CVC-ClinicDB/masks"),
    ("CVC-ClinicDB", "test", "CVC-ClinicDB/Original", "CVC-ClinicDB/Ground Truth"),
    ("ETIS", "test", "TestDataset/ETIS-LaribPolypDB/images", "TestDataset/ETIS-LaribPolypDB/masks"),
    ("ETIS-LaribPolypDB", "test", "ETIS/images", "ETIS/masks"),
]


@pytest.mark.parametrize("below", ["", "data"], ids=["in_root", "one_below"])
@pytest.mark.parametrize(("name", "split", "images", "masks"), LAYOUTS)
def test_layout_is_found(tmp_path: Path, caplog, name: str, split: str, images: str, masks: str, below: str) -> None:
    caplog.set_level(logging.INFO)
    own = {"COD10K": COD_STEMS, "CAMO": CAMO_STEMS}.get(name, ["1", "2"])
    fill(tmp_path / below, images, masks, own, ".tif" if "Original" in images else ".jpg")
    pairs = dataset_pairs(name, split, tmp_path)
    assert stems(pairs) == sorted(own)
    assert pairs[0].image.parent == tmp_path / below / images
    assert pairs[0].mask.parent == tmp_path / below / masks
    assert f"{name}/{split}: {len(own)} pairs" in caplog.text
    assert str(tmp_path / below / images) in caplog.text
    published = " or ".join(map(str, benchmark(name).num_pairs[split]))
    assert f"{name}/{split}: {len(own)} pairs, where the benchmark has {published}" in caplog.text
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 1


def test_shared_folder_without_the_sets_stems_is_not_its_own(tmp_path: Path) -> None:
    fill(tmp_path, "TrainDataset/Imgs", "TrainDataset/GT", COD_STEMS)
    with pytest.raises(FileNotFoundError, match=r"CAMO/train: not found .*TrainDataset/Imgs holds no stem of the set"):
        dataset_pairs("CAMO", "train", tmp_path)
    fill(tmp_path, "CAMO/Images/Train", "CAMO/GT", CAMO_STEMS)
    assert stems(dataset_pairs("CAMO", "train", tmp_path)) == sorted(CAMO_STEMS)


def test_cod_and_polyp_sets_never_take_each_others_shared_folder(tmp_path: Path) -> None:
    fill(tmp_path, "TrainDataset/images", "TrainDataset/masks", [*COD_STEMS, *CAMO_STEMS])
    fill(tmp_path / "cod", "TrainDataset/Imgs", "TrainDataset/GT", COD_STEMS)
    for name, root in (("CAMO", tmp_path), ("Kvasir-SEG", tmp_path / "cod")):
        with pytest.raises(FileNotFoundError):
            dataset_pairs(name, "train", root)
    assert dataset_pairs("COD10K", "train", tmp_path)[0].image.parent == tmp_path / "cod/TrainDataset/Imgs"


@pytest.mark.parametrize("folder", ["COD10K-v3/Test/Image", "TestDataset/COD10K/Imgs"])
def test_non_camouflaged_part_of_cod10k_is_left_out(tmp_path: Path, caplog, folder: str) -> None:
    caplog.set_level(logging.INFO)
    masks = str(Path(folder).parent / ("GT_Object" if "v3" in folder else "GT"))
    fill(tmp_path, folder, masks, [*COD_STEMS, "COD10K-NonCAM-1-Background-1", "COD10K-NonCAM-2"])
    assert stems(dataset_pairs("COD10K", "test", tmp_path)) == sorted(COD_STEMS)
    assert "COD10K/test: 2 COD10K-NonCAM* left out: camouflaged part only" in caplog.text


def test_splits_of_camo_share_a_folder_of_masks(tmp_path: Path) -> None:
    fill(tmp_path, "CAMO/Images/Train", "CAMO/GT", CAMO_STEMS[:2])
    fill(tmp_path, "CAMO/Images/Test", "CAMO/GT", CAMO_STEMS[2:])
    assert stems(dataset_pairs("CAMO", "train", tmp_path)) == CAMO_STEMS[:2]
    assert stems(dataset_pairs("CAMO", "test", tmp_path)) == CAMO_STEMS[2:]
    (tmp_path / "CAMO" / "GT" / f"{CAMO_STEMS[0]}.png").unlink()
    with pytest.raises(ValueError, match=r"^CAMO/train: 1 of 2 images have no mask"):
        dataset_pairs("CAMO", "train", tmp_path)


def test_clinicdb_pairs_in_pranets_training_folder_are_left_out(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    fill(tmp_path, "TrainDataset/images", "TrainDataset/masks", ["cju0", "cju1", "1", "2", "3"])
    assert stems(dataset_pairs("Kvasir-SEG", "train", tmp_path)) == ["cju0", "cju1"]
    assert "Kvasir-SEG/train: 2 pairs of stems cju*" in caplog.text


def test_undivided_kvasir_needs_lists(tmp_path: Path) -> None:
    fill(tmp_path, "Kvasir-SEG/images", "Kvasir-SEG/masks", ["cju0", "cju1", "cju2"])
    with pytest.raises(FileNotFoundError, match=r"Kvasir-SEG/train\.txt: no such list.*beside its folder of images"):
        dataset_pairs("Kvasir-SEG", "train", tmp_path)
    (tmp_path / "Kvasir-SEG" / "train.txt").write_text("cju0.jpg\ncju2\n")
    assert stems(dataset_pairs("Kvasir-SEG", "train", tmp_path)) == ["cju0", "cju2"]
    fill(tmp_path, "polyp/TrainDataset/images", "polyp/TrainDataset/masks", ["1"])
    assert stems(dataset_pairs("Kvasir-SEG", "train", tmp_path)) == ["1"]  # divided copies come first


def test_test_folder_is_no_undivided_release(tmp_path: Path) -> None:
    fill(tmp_path, "TestDataset/Kvasir/images", "TestDataset/Kvasir/masks", ["1"])
    with pytest.raises(FileNotFoundError, match="Kvasir-SEG/val: not found"):
        dataset_pairs("Kvasir-SEG", "val", tmp_path)


def test_sizes_may_differ_in_nc4k_alone(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    for name in ("NC4K", "CHAMELEON"):
        fill(tmp_path, f"TestDataset/{name}/Imgs", f"TestDataset/{name}/GT", ["1", "2"])
        save(tmp_path / f"TestDataset/{name}/GT/2.png", BLACK.T)
    assert stems(dataset_pairs("NC4K", "test", tmp_path)) == ["1", "2"]
    assert "NC4K/test: 1 of 2 pairs differ in size and are scored at the mask's size" in caplog.text
    with pytest.raises(ValueError, match=r"^CHAMELEON/test: in 1 of 2 pairs"):
        dataset_pairs("CHAMELEON", "test", tmp_path)
    with pytest.raises(ValueError, match=r"^NC4K/test: in 1 of 2 pairs"):
        dataset_pairs("NC4K", "test", tmp_path, size_mismatch="error")
    assert stems(dataset_pairs("CHAMELEON", "test", tmp_path, exclude=["CHAMELEON/test/2", "NC4K/x"])) == ["1"]


def test_second_copy_is_named_in_a_warning(tmp_path: Path, caplog) -> None:
    for copy in ("a", "b"):
        fill(tmp_path / copy, "TestDataset/NC4K/Imgs", "TestDataset/NC4K/GT", [copy])
    assert stems(dataset_pairs("NC4K", "test", tmp_path)) == ["a"]
    assert f"also found in {tmp_path / 'b/TestDataset/NC4K/Imgs'}, which is not used" in caplog.text


def test_pranets_list_of_clinicdb_selects_its_pairs(tmp_path: Path, caplog) -> None:
    """The list selects from the folders of the whole set; an incomplete list is an error."""
    listed = KNOWN["CVC-ClinicDB-62"].only["test"]
    assert len(set(listed)) == 62
    fill(tmp_path, "CVC-ClinicDB/images", "CVC-ClinicDB/masks", [str(number) for number in range(1, 613)])
    assert set(stems(dataset_pairs("CVC-ClinicDB-62", "test", tmp_path))) == set(listed)
    assert len(dataset_pairs("CVC-ClinicDB", "test", tmp_path)) == 612
    assert len(dataset_pairs("CVC-ClinicDB-612", "test", tmp_path)) == 612
    assert not caplog.records  # as both numbers are published
    for kind in ("images", "masks"):
        next((tmp_path / "CVC-ClinicDB" / kind).glob("575.*")).unlink()
    with pytest.raises(ValueError, match=r"CVC-ClinicDB-62/test: .*575"):
        dataset_pairs("CVC-ClinicDB-62", "test", tmp_path)


def test_pranets_copy_of_clinicdb_is_not_taken_for_the_whole_set(tmp_path: Path) -> None:
    listed = KNOWN["CVC-ClinicDB-62"].only["test"]
    fill(tmp_path, "TestDataset/CVC-ClinicDB/images", "TestDataset/CVC-ClinicDB/masks", listed)
    assert len(dataset_pairs("CVC-ClinicDB-62", "test", tmp_path)) == 62
    with pytest.raises(ValueError, match=r"CVC-ClinicDB-612/test: .*all 612; PraNet's 62 are CVC-ClinicDB-62"):
        dataset_pairs("CVC-ClinicDB-612", "test", tmp_path)
    fill(tmp_path, "CVC-ClinicDB/Original", "CVC-ClinicDB/Ground Truth", [str(number) for number in range(1, 613)])
    assert len(dataset_pairs("CVC-ClinicDB-612", "test", tmp_path)) == 612
    assert dataset_pairs("CVC-ClinicDB-62", "test", tmp_path)[0].image.parts[-4] == "TestDataset"


def test_ecssd_is_divided_by_a_fixed_list(tmp_path: Path, caplog) -> None:
    """Its archives hold ``images`` and ``ground_truth_mask``, perhaps unpacked into a folder of its name."""
    numbers = [f"{number:04}" for number in range(1, 1001)]
    fill(tmp_path / "ECSSD", "images", "ground_truth_mask", numbers)
    for root in (tmp_path, tmp_path / "ECSSD"):
        train, test = (stems(dataset_pairs("ecssd", split, root)) for split in ("train", "test"))
        assert sorted([*train, *test]) == numbers
        assert len(train) == 800
        assert sum(map(int, test)) == 101132  # of the list by which the scores of `lite` were measured
    assert not caplog.records
    next((tmp_path / "ECSSD/images").glob("1000.*")).unlink()
    with pytest.raises(ValueError, match=r"ecssd/test: the split's list names stems with no image in .*: 1000"):
        dataset_pairs("ecssd", "test", tmp_path)


def test_benchmark_is_found_by_alias_in_any_case() -> None:
    assert benchmark("kvasir") is benchmark("Kvasir-SEG") is KNOWN["Kvasir-SEG"]
    assert benchmark("camote") is KNOWN["CAMO"]


def test_mapping_names_any_two_folders(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    fill(tmp_path, "mine/a", "mine/b", ["1", "2"])
    spec: dict[str, object] = {"name": "mine", "images": "mine/a", "masks": str(tmp_path / "mine" / "b"), "list": None}
    assert stems(dataset_pairs(spec, "train", tmp_path)) == ["1", "2"]
    assert "mine/train: 2 pairs in" in caplog.text
    assert stems(dataset_pairs(spec, "train", str(tmp_path), exclude=["mine/train/1"])) == ["2"]
    (tmp_path / "mine" / "part.txt").write_text("2.png\n")
    assert stems(dataset_pairs(spec | {"list": "mine/part.txt"}, "test", tmp_path)) == ["2"]
    with pytest.raises(FileNotFoundError, match="mine/test: the folder of masks"):
        dataset_pairs(spec | {"masks": "nowhere"}, "test", tmp_path)


@pytest.mark.data
@real_data
@pytest.mark.parametrize("below", ["", "own"], ids=["root_above", "own_root"])
@pytest.mark.parametrize(
    ("family", "name", "split", "num_pairs"),
    [
        ("polyp", "Kvasir-SEG", "train", 800),
        ("polyp", "Kvasir-SEG", "val", 100),
        ("polyp", "Kvasir", "test", 100),
        ("polyp", "CVC-ClinicDB", "test", 612),
        ("polyp", "CVC-ClinicDB-612", "test", 612),
        ("polyp", "CVC-ClinicDB-62", "test", 62),
        ("polyp", "ETIS", "test", 20),
        ("cod", "CAMO", "test", 4),
        ("saliency", "ECSSD", "train", 800),
        ("saliency", "ECSSD", "test", 200),
    ],
)
def test_real_data(caplog, family: str, name: str, split: str, num_pairs: int, below: str) -> None:
    pairs = dataset_pairs(name, split, REAL_DATA / family if below else REAL_DATA)
    assert len(pairs) == num_pairs
    differs = num_pairs not in benchmark(name).num_pairs[split]
    assert len(caplog.records) == differs  # the samples of ETIS and CAMO are smaller; no masks look inverted
    for pair in pairs[:: max(1, len(pairs) // 5)]:
        image, mask = read_image(pair.image), read_mask(pair.mask)
        assert image_size(pair.image) == image.shape[:2] == mask.shape
        assert mask.any()
        assert not mask.all()
