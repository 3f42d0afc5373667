"""The data doctor on the known benchmarks' layouts and peculiarities."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.builders import REAL_DATA
from support.doctor_files import STEMS, examined, found, mask, message, own_data, picture, save, stops, write_set

from ipsam.data import Data
from ipsam.tools.prepare.doctor import diagnose

COD10K = [f"COD10K-CAM-1-Aquatic-{number}" for number in range(4)]
CAMO = [f"camourflage_0000{number}" for number in range(4)]
NUMBER = {"number of pairs": "warning"}


def cod(root: Path, **options: object) -> Data:
    return own_data(root, **{"train": ["COD10K", "CAMO"], "test": ["CAMO", "CHAMELEON", "COD10K", "NC4K"]} | options)


def only_tested(root: Path, *names: str, **options: object) -> Data:
    return cod(root, train=[], test=list(names), **options)


def write_release(root: Path, name: str, seed: int = 0, *, images: str = "Imgs", stems: Sequence[str] = STEMS) -> None:
    write_set(root, name, seed, images=images, masks="GT", stems=stems)


def test_missing_set_does_not_stop_the_examination_of_others(tmp_path: Path) -> None:
    write_release(tmp_path, "TestDataset/CAMO")
    write_release(tmp_path, "NC4K", 50)
    (tmp_path / "NC4K/GT/a.png").unlink()
    data = cod(tmp_path)
    diagnosis = examined(data)
    labels = ["COD10K/train", "CAMO/train", "CAMO/test", "CHAMELEON/test", "COD10K/test", "NC4K/test"]
    assert [one.label for one in diagnosis.sets] == labels
    expected = [{"set not found": "error"}] * 2 + [NUMBER] + [{"set not found": "error"}] * 2
    assert [found(diagnosis, label) for label in labels] == [*expected, NUMBER | {"image without mask": "error"}]
    assert [one.num_pairs for one in diagnosis.sets] == [0, 0, 6, 0, 0, 5]
    missing = diagnosis.sets[3].findings[0].message
    assert missing.startswith(f"CHAMELEON/test: not found in {tmp_path} or a folder right below it. Looked for ")
    assert "Set root=FOLDER, leave the set out of test=[...], or name its folders" in missing
    assert diagnosis.num_files == 23
    assert stops(data)


def test_pooled_files_are_split_and_read_once(tmp_path: Path) -> None:
    write_release(tmp_path, "TrainDataset", stems=[*COD10K, *CAMO])
    for number in range(3):
        save(tmp_path / f"TrainDataset/Imgs/COD10K-NonCAM-{number}.jpg", picture(90 + number))
        (tmp_path / f"TrainDataset/GT/COD10K-NonCAM-{number}.png").write_bytes(b"")
    data = cod(tmp_path, test=[])
    diagnosis = examined(data)
    assert [one.num_pairs for one in diagnosis.sets] == [4, 4]
    assert diagnosis.num_files == 16
    assert found(diagnosis, "COD10K/train") == NUMBER | {"no part of the benchmark": "remark"}
    assert found(diagnosis, "CAMO/train") == NUMBER
    left_out = "COD10K/train: 3 COD10K-NonCAM* left out: camouflaged part only"
    assert message(diagnosis, "no part of the benchmark") == left_out
    fewer = "COD10K/train: 4 pairs, where the benchmark has 3040 (camouflaged part only)"
    assert diagnosis.sets[0].findings[-1].message == fewer
    assert not stops(data)


def test_masks_of_the_other_split_are_ignored(tmp_path: Path) -> None:
    write_release(tmp_path, "CAMO", images="Images/Test", stems=CAMO)
    save(tmp_path / "CAMO/GT/camourflage_00009.png", mask() // 255)
    data = only_tested(tmp_path, "CAMO")
    diagnosis = examined(data)
    assert found(diagnosis) == NUMBER | {"masks of other splits": "remark"}
    assert len(diagnosis.sets[0].masks) == 4
    assert not stops(data)


@pytest.mark.data
@pytest.mark.skipif(not REAL_DATA.is_dir(), reason=f"no real data in {REAL_DATA} (set IPSAM_TEST_DATA)")
def test_real_data() -> None:
    """Soft masks; three duplicates in Kvasir-SEG, and one test image among its training images."""
    polyps = {"train": ["Kvasir-SEG"], "val": ["Kvasir-SEG"], "test": ["Kvasir", "CVC-ClinicDB", "ETIS"]}
    diagnosis = diagnose(own_data(REAL_DATA, **polyps), num_workers=2)
    assert [one.num_pairs for one in diagnosis.sets] == [800, 100, 100, 612, 20]
    soft = {"masks not binary": "warning"}
    twice, tested_on = {"training images twice": "remark"}, {"tested on training images": "warning"}
    expected = [soft | twice, soft, soft | tested_on, soft, NUMBER]
    assert [found(diagnosis, one.label) for one in diagnosis.sets] == expected
    named = {f.kind: f.message for one in diagnosis.sets for f in one.findings}
    assert (
        "593.jpg (510.jpg of Kvasir-SEG/train), 620.jpg (459.jpg of Kvasir-SEG/train), 667.jpg (300.jpg of Kv"
        in (named["training images twice"])
    )
    assert "1 of 100 images are among the training images too" in named["tested on training images"]
    assert "16.jpg (222.jpg of Kvasir-SEG/train); leave the" in named["tested on training images"]
    assert "CVC-ClinicDB/test: 138 of 612 masks have values other" in named["masks not binary"]
    assert not diagnosis.would_stop
    assert np.median(diagnosis.sets[0].shares) == pytest.approx(0.113, abs=0.001)
    camo = diagnose(own_data(REAL_DATA, train=[], test=["CAMO"]), num_workers=0)
    assert found(camo) == NUMBER
