import inspect
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ipsam.data.files import read_list
from ipsam.data.pairs import Pair, find_pairs, warn_if_inverted


def save(path: Path, size: tuple[int, int] = (4, 5), value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, value, dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Three pairs, a.jpg to c.jpg with PNG masks."""
    for stem in "abc":
        save(tmp_path / "images" / f"{stem}.jpg")
        save(tmp_path / "masks" / f"{stem}.png")
    return tmp_path / "images", tmp_path / "masks"


def stems(pairs: Iterable[Pair]) -> list[str]:
    return [pair.stem for pair in pairs]


def test_pairs_share_their_stem(folders) -> None:
    images, masks = folders
    assert find_pairs(images, masks, name="set") == [
        Pair(stem, images / f"{stem}.jpg", masks / f"{stem}.png") for stem in "abc"
    ]


def test_sorted_order_would_pair_wrongly(tmp_path: Path) -> None:
    # Names that one suffix sorts otherwise than another: "a.c.jpg" < "a.jpg", but "a.bmp" < "a.c.bmp".
    for stem in ("a", "a-1", "a.c"):
        save(tmp_path / "images" / f"{stem}.jpg")
        save(tmp_path / "masks" / f"{stem}.bmp")
    assert all(
        p.image.stem == p.mask.stem == p.stem for p in find_pairs(tmp_path / "images", tmp_path / "masks", name="s")
    )


def test_extensions_in_any_case_and_other_files_passed_over(tmp_path: Path) -> None:
    for number, suffix in enumerate(("jpg", "JPEG", "Png", "bmp", "TIF", "tiff")):
        save(tmp_path / "images" / f"{number}.{suffix}")
        save(tmp_path / "masks" / f"{number}.png")
    for other in ("Thumbs.db", ".DS_Store", "._0.jpg", "list.txt"):
        (tmp_path / "images" / other).write_text("no image")
    (tmp_path / "images" / "folder.jpg").mkdir()
    assert stems(find_pairs(tmp_path / "images", tmp_path / "masks", name="set")) == list("012345")


def test_images_without_mask(folders) -> None:
    for number in range(7):
        save(folders[0] / f"x{number}.jpg")
    message = r"^set: 7 of 10 images have no mask.*: x0\.jpg, x1\.jpg, .*x4\.jpg and 2 more; .*exclude=\[set/x0,"
    with pytest.raises(ValueError, match=message):
        find_pairs(*folders, name="set")


def test_masks_without_image(folders, caplog: pytest.LogCaptureFixture) -> None:
    save(folders[1] / "z.png")
    with pytest.raises(ValueError, match=r"^set: 1 of 4 masks have no image.*: z\.png; .*exclude=\[set/z\]"):
        find_pairs(*folders, name="set")
    caplog.set_level(logging.INFO)
    assert stems(find_pairs(*folders, name="set", extra_masks=True)) == list("abc")
    assert "set: 1 masks" in caplog.text


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_two_files_of_one_stem(folders, kind: str) -> None:
    save(folders[kind == "mask"] / "a.bmp")
    with pytest.raises(ValueError, match=rf"^set: 1 stems stand for two {kind}s.*a\.bmp/a\.\w+.*exclude=\[set/a\]"):
        find_pairs(*folders, name="set")
    assert stems(find_pairs(*folders, name="set", exclude=["a"])) == ["b", "c"]


def test_folder_missing_or_empty(folders, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^set: the folder of masks .*none doesn't exist; check root=FOLDER"):
        find_pairs(folders[0], tmp_path / "none", name="set")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"^set: the folder of images .*empty is empty"):
        find_pairs(tmp_path / "empty", folders[1], name="set")


def test_unreadable_headers(folders) -> None:
    (folders[0] / "a.jpg").write_text("<html>")
    (folders[1] / "c.png").write_bytes(b"")
    message = r"^set: 2 of 3 pairs can't be read: .*a\.jpg: .*c\.png: .*exclude=\[set/a,set/c\]"
    with pytest.raises(ValueError, match=message):
        find_pairs(*folders, name="set")


def test_size_mismatch(folders, caplog: pytest.LogCaptureFixture) -> None:
    save(folders[1] / "b.png", size=(5, 4))
    message = r"^set: in 1 of 3 pairs .*b\.jpg 4x5 with mask 5x4; .*=resize, .*=exclude, or exclude=\[set/b\]"
    with pytest.raises(ValueError, match=message):
        find_pairs(*folders, name="set")
    caplog.set_level(logging.INFO)
    assert stems(find_pairs(*folders, name="set", size_mismatch="resize")) == list("abc")
    assert "1 of 3 pairs differ in size and are scored at the mask's size" in caplog.text
    assert stems(find_pairs(*folders, name="set", size_mismatch="exclude")) == list("ac")
    assert "1 of 3 pairs differ in size and are left out" in caplog.text
    with pytest.raises(ValueError, match=r"size_mismatch=crop is none of error, resize, exclude"):
        inspect.unwrap(find_pairs)(*folders, name="set", size_mismatch="crop")  # past the type checker of the tests
    with pytest.raises(ValueError, match="leaves no pair"):
        find_pairs(*folders, name="set", only=["b"], size_mismatch="exclude")


def test_exclusions_are_logged_and_checked(folders, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    save(folders[0] / "7.jpg")
    assert stems(find_pairs(*folders, name="set", exclude=["b", 7])) == ["a", "c"]
    assert "set: 2 left out by exclude: 7, b" in caplog.text
    with pytest.raises(ValueError, match=r"^set: exclude names stems that the set doesn't have: b\.jpg, typo;"):
        find_pairs(*folders, name="set", exclude=["b.jpg", "typo", "7"])
    with pytest.raises(ValueError, match=r"^set: no image left in .* leaving out 4 by exclude"):
        find_pairs(*folders, name="set", exclude=["a", "b", "c", "7"])


def test_exclusions_of_one_set_are_no_concern_of_others(folders) -> None:
    exclude = ["other/test/x", "set/test/a", "SET/b", "set/only-in-train"]
    assert stems(find_pairs(*folders, name="set/test", exclude=exclude)) == ["c"]
    with pytest.raises(ValueError, match="doesn't have: typo"):
        find_pairs(*folders, name="set/test", exclude=["set/test/typo"])


def test_selection_by_pattern(folders) -> None:
    save(folders[0] / "xa.jpg")  # has no mask, but is another set's
    assert stems(find_pairs(*folders, name="set", stems="[ab]")) == ["a", "b"]
    with pytest.raises(ValueError, match=r"^set: no image left in .*matching 'COD10K'"):
        find_pairs(*folders, name="set", stems="COD10K")


def test_selection_by_list(folders) -> None:
    assert stems(find_pairs(*folders, name="set", only=["c", "a"])) == ["a", "c"]
    with pytest.raises(
        ValueError, match=r"^set: the split's list names stems with no image in .*: q; correct the list"
    ):
        find_pairs(*folders, name="set", only=["a", "q"])


def test_list_files(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a.jpg\nb\n\n c.v2.PNG \r\nd.v1\n", encoding="utf-8-sig")
    assert read_list(tmp_path / "train.txt") == ["a", "b", "c.v2", "d.v1"]
    with pytest.raises(FileNotFoundError, match=r"val\.txt: no such list.*a stem a line"):
        read_list(tmp_path / "val.txt")


@pytest.mark.parametrize(("num_inverted", "warned"), [(0, False), (2, False), (3, True), (4, True)])
def test_inverted_masks_are_suspected(tmp_path: Path, caplog, num_inverted: int, warned: bool) -> None:
    for number in range(4):
        image = save(tmp_path / "images" / f"{number}.jpg", size=(8, 8))
        mask = np.zeros((8, 8), dtype=np.uint8)
        mask[2:6, 2:6] = 255
        path = save(tmp_path / "masks" / f"{number}.png")
        Image.fromarray(255 - mask if number < num_inverted else mask).save(path)
        assert image.exists()
    warn_if_inverted(find_pairs(tmp_path / "images", tmp_path / "masks", name="set", size_mismatch="resize"), "set")
    assert (f"set: the masks look inverted: in {num_inverted} of 4" in caplog.text) == warned
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warned


def test_few_masks_are_read_of_a_large_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr("ipsam.data.pairs.read_mask", lambda path, _: read.append(path) or np.zeros((3, 3), np.uint8))
    warn_if_inverted([Pair(str(i), tmp_path / f"{i}.jpg", tmp_path / f"{i}.png") for i in range(1000)], "set")
    assert len(read) == 32
    assert {read[0].stem, read[-1].stem} == {"0", "999"}


def test_a_list_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes("caf\u00e9\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"train\.txt: the list is not UTF-8 .*; save it as UTF-8"):
        read_list(tmp_path / "train.txt")


def test_accents_of_one_or_two_codes_are_the_same(tmp_path: Path) -> None:
    """As where the images were unpacked on a Mac and the masks elsewhere."""
    one, two = "caf\u00e9", "cafe\u0301"
    save(tmp_path / "images" / f"{two}.jpg")
    save(tmp_path / "masks" / f"{one}.png")
    (tmp_path / "train.txt").write_text(f"{two}.jpg\n", encoding="utf-8")
    folders = tmp_path / "images", tmp_path / "masks"
    assert stems(find_pairs(*folders, name="set")) == [one]
    for listed in ([two], [one], read_list(tmp_path / "train.txt")):
        assert stems(find_pairs(*folders, name="set", only=listed)) == [one]
    with pytest.raises(ValueError, match=r"leaving out 1 by exclude"):
        find_pairs(*folders, name="set", exclude=[two])
