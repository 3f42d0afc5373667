import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from support.map_files import MASK, pairs_in, save

from ipsam.data.files import read_list
from ipsam.data.pairs import Pair, warn_if_inverted


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three pairs, a.jpg to c.jpg with PNG masks."""
    for stem in "abc":
        save(tmp_path / "images" / f"{stem}.jpg")
        save(tmp_path / "masks" / f"{stem}.png")
    return tmp_path / "images", tmp_path / "masks"


def stems(pairs: Iterable[Pair]) -> list[str]:
    return [pair.stem for pair in pairs]


def test_pairs_do_not_depend_on_sorted_order(tmp_path: Path) -> None:
    for stem in ("a", "a-1", "a.c"):  # "a.c.jpg" < "a.jpg", but "a.bmp" < "a.c.bmp"
        save(tmp_path / "images" / f"{stem}.jpg")
        save(tmp_path / "masks" / f"{stem}.bmp")
    found = pairs_in(tmp_path / "images", tmp_path / "masks")
    assert all(pair.image.stem == pair.mask.stem == pair.stem for pair in found)


def test_extensions_match_in_any_case_and_other_files_are_skipped(tmp_path: Path) -> None:
    for number, suffix in enumerate(("jpg", "JPEG", "Png", "bmp", "TIF", "tiff")):
        save(tmp_path / "images" / f"{number}.{suffix}")
        save(tmp_path / "masks" / f"{number}.png")
    for other in ("Thumbs.db", ".DS_Store", "._0.jpg", "list.txt"):
        (tmp_path / "images" / other).write_text("no image")
    (tmp_path / "images" / "folder.jpg").mkdir()
    assert stems(pairs_in(tmp_path / "images", tmp_path / "masks")) == list("012345")


def test_extra_masks_are_allowed_on_request(folders, caplog: pytest.LogCaptureFixture) -> None:
    save(folders[1] / "z.png")
    caplog.set_level(logging.INFO)
    assert stems(pairs_in(*folders, extra_masks=True)) == list("abc")
    assert "set: 1 masks" in caplog.text


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_ambiguous_stem_can_be_excluded(folders, kind: str) -> None:
    save(folders[kind == "mask"] / "a.bmp")
    assert stems(pairs_in(*folders, exclude=["a"])) == ["b", "c"]


def test_exclusions_are_logged(folders, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    save(folders[0] / "7.jpg")
    pairs = pairs_in(*folders, exclude=["b", 7])
    assert stems(pairs) == ["a", "c"]
    assert pairs.left_out == {"by exclude": ["7", "b"]}
    assert "set: 2 left out by exclude: 7, b" in caplog.text


def test_exclusions_of_other_sets_are_ignored(folders) -> None:
    exclude = ["other/test/x", "set/test/a", "SET/b", "set/only-in-train"]
    assert stems(pairs_in(*folders, "set/test", exclude=exclude)) == ["c"]


def test_pattern_and_list_select_pairs(folders) -> None:
    save(folders[0] / "xa.jpg")  # has no mask, but belongs to another set
    assert stems(pairs_in(*folders, stems="[ab]")) == ["a", "b"]
    assert stems(pairs_in(*folders, only=["c", "a"])) == ["a", "c"]


def test_list_file_holds_stems_or_file_names(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a.jpg\nb\n\n c.v2.PNG \r\nd.v1\n", encoding="utf-8-sig")
    assert read_list(tmp_path / "train.txt") == ["a", "b", "c.v2", "d.v1"]


def test_accents_of_one_or_two_codes_are_the_same(tmp_path: Path) -> None:
    """Images may have been unpacked on a Mac, and masks elsewhere."""
    one, two = "caf\u00e9", "cafe\u0301"
    save(tmp_path / "images" / f"{two}.jpg")
    save(tmp_path / "masks" / f"{one}.png")
    (tmp_path / "train.txt").write_text(f"{two}.jpg\n", encoding="utf-8")
    folders = tmp_path / "images", tmp_path / "masks"
    for listed in (None, [two], [one], read_list(tmp_path / "train.txt")):
        assert stems(pairs_in(*folders, only=listed)) == [one]
    with pytest.raises(ValueError, match=r"leaving out 1 by exclude"):
        pairs_in(*folders, exclude=[two])


@pytest.mark.parametrize(("num_inverted", "warned"), [(0, False), (2, False), (3, True), (4, True)])
def test_inverted_masks_give_a_warning(tmp_path: Path, caplog, num_inverted: int, warned: bool) -> None:
    pairs = []
    for number in range(4):
        path = save(tmp_path / f"{number}.png", 255 - MASK if number < num_inverted else MASK)
        pairs.append(Pair(str(number), path, path))
    warn_if_inverted({pair.stem: pair.mask for pair in pairs}, "set")
    assert (f"set: the masks look inverted: in {num_inverted} of 4" in caplog.text) == warned
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warned


def test_few_masks_of_a_large_set_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr("ipsam.data.pairs.read_mask", lambda path, _: read.append(path) or np.zeros((3, 3), np.uint8))
    warn_if_inverted({str(i): tmp_path / f"{i}.png" for i in range(1000)}, "set")
    assert len(read) == 32
    assert {read[0].stem, read[-1].stem} == {"0", "999"}
