import logging
import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.map_files import MASK, save

from ipsam.data.saved_maps.map_pairs import SavedMap, pair_maps, truth_files
from ipsam.data.saved_maps.map_sets import find_maps, find_truths
from ipsam.engine.metrics import Protocol, measure, to_eight_bit


def paired(folder: str, masks: str, stems: Path | None = None, **options) -> list[SavedMap]:
    (truth,) = find_truths(Path(masks))
    (found,) = find_maps(Path(folder), [truth])
    return pair_maps(found, truth_files(truth, stems), **options)


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
@pytest.mark.parametrize("folder", ["maps", os.fsdecode(b"maps/caf\xe9")])
def test_a_name_that_can_not_be_printed(tree, folder: str) -> None:
    tree("masks", folder)
    Path(folder, "a.png").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    with pytest.raises(ValueError, match=r"caf\\xe9.*: the name is not UTF-8 and can't be reported; rename it"):
        paired("maps", "masks")


def test_maps_and_masks_share_their_stem(tree) -> None:
    tree("CAMO/GT", "CAMO/Imgs")
    save(Path("maps/a.jpg"))
    save(Path("maps/b.tif"))
    pairs = paired("maps", "CAMO")
    assert [(p.stem, p.map, p.mask) for p in pairs] == [
        ("a", Path("maps/a.jpg"), Path("CAMO/GT/a.png")),
        ("b", Path("maps/b.tif"), Path("CAMO/GT/b.png")),
    ]
    assert [p.image.name for p in pairs if p.image] == ["a.png", "b.png"]
    stem, prediction, mask = pickle.loads(pickle.dumps(pairs[1]))()  # as in a worker process
    assert stem == "b"
    np.testing.assert_array_equal(prediction, MASK)
    np.testing.assert_array_equal(mask, MASK)


def test_missing_maps(tree, caplog: pytest.LogCaptureFixture) -> None:
    tree("masks", "maps")
    for number in range(7):
        save(Path("masks", f"x{number}.png"))
    message = r"7 of 9 masks have no map of the same stem in maps: x0, x1, x2, x3, x4, x5, x6; .*missing=exclude"
    with pytest.raises(ValueError, match=message):
        paired("maps", "masks")
    assert [p.stem for p in paired("maps", "masks", missing="exclude")] == ["a", "b"]
    assert "ONLY 2 OF 9 IMAGES ARE SCORED" in caplog.text


@pytest.mark.parametrize("missing", ["error", "exclude"])
def test_no_map_fits(tree, missing: str) -> None:
    tree("masks")
    save(Path("maps/a_pred.png"))
    with pytest.raises(ValueError, match="no map in maps has the stem of a mask: the maps are a_pred, the masks a, b;"):
        paired("maps", "masks", missing=missing)


def test_extra_maps_are_counted(tree, caplog: pytest.LogCaptureFixture) -> None:
    tree("masks", "maps")
    save(Path("maps/c.png"))
    save(Path("maps/d.png"))
    caplog.set_level(logging.INFO)
    assert [p.stem for p in paired("maps", "masks")] == ["a", "b"]
    assert "2 maps have no mask and are not scored: c, d" in caplog.text


def test_a_list_of_stems(tree, caplog: pytest.LogCaptureFixture) -> None:
    tree("masks", "maps")
    save(Path("masks/c.png"))
    save(Path("masks/c.jpg"))  # two masks of one stem, neither of them in the list
    Path("list.txt").write_text("b.png\n\na\n", encoding="utf-8")
    caplog.set_level(logging.INFO)
    assert [p.stem for p in paired("maps", "masks", Path("list.txt"))] == ["a", "b"]
    assert "2 of 3 masks are in list.txt and scored" in caplog.text
    Path("list.txt").write_text("a\nz\n")
    with pytest.raises(ValueError, match=r"1 of the 2 stems in list\.txt have no mask in masks: z; correct the list"):
        paired("maps", "masks", Path("list.txt"))
    Path("list.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"stems=list\.txt: the list is empty"):
        paired("maps", "masks", Path("list.txt"))
    with pytest.raises(FileNotFoundError, match=r"stems=none\.txt: no such file"):
        paired("maps", "masks", Path("none.txt"))


@pytest.mark.parametrize("kind", ["maps", "masks"])
def test_two_files_of_one_stem(tree, kind: str) -> None:
    tree("masks", "maps")
    save(Path(kind, "a.tif"))
    with pytest.raises(ValueError, match=f"{kind} with the same stem in {kind}: a.png and a.tif; remove one of each"):
        paired("maps", "masks")


def test_accents_of_one_or_two_codes_are_the_same(tree) -> None:
    save(Path("masks/caf\u00e9.png"))
    save(Path("maps/cafe\u0301.png"))
    assert [p.stem for p in paired("maps", "masks")] == ["caf\u00e9"]


def test_maps_of_another_size(tree, caplog: pytest.LogCaptureFixture) -> None:
    tree("masks", "maps")
    for number in range(7):
        save(Path("masks", f"x{number}.png"))
        save(Path("maps", f"x{number}.png"), np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    message = r"7 of 9 maps differ from their mask in size \(height x width\): x0\.png 3x4, mask 6x9, .* and 2 more; .*"
    with pytest.raises(ValueError, match=f"{message}resize=true"):
        paired("maps", "masks")
    caplog.set_level(logging.INFO)
    pairs = paired("maps", "masks", resize=True)
    assert "7 of 9 maps are resized to their mask's size (resize=true)" in caplog.text
    _, prediction, mask = pairs[-1]()
    assert prediction.shape == mask.shape == (6, 9)
    whole = cv2.imread("maps/x6.png", cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(prediction, cv2.resize(whole, (9, 6), interpolation=cv2.INTER_LINEAR))


def test_a_size_that_its_header_did_not_tell(tmp_path: Path) -> None:
    saved = SavedMap("a", save(tmp_path / "a.png", MASK[:3]), save(tmp_path / "mask.png"))
    with pytest.raises(ValueError, match=r"a\.png: 3x9 pixels, but its mask has 6x9"):
        saved()


def test_files_that_can_not_be_read_are_listed_together(tree) -> None:
    tree("masks", "maps")
    Path("maps/a.png").write_bytes(b"")
    Path("maps/b.png").write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"2 of 2 maps can't be used: maps/a\.png: the file is empty.*maps/b\.png"):
        paired("maps", "masks")
    Path("masks/b.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1 of 2 masks can't be used: masks/b\.png: the file is empty"):
        paired("maps", "masks")


def test_a_tiff_whose_header_only_opencv_reads(tree) -> None:
    save(Path("masks/a.png"))
    Path("maps").mkdir()
    cv2.imwrite("maps/a.tif", MASK.astype(np.float64) / 255)
    ((_, prediction, _),) = [saved() for saved in paired("maps", "masks")]
    np.testing.assert_array_equal(prediction, MASK.astype(np.float32) / 255)


def test_many_missing_maps_are_listed_up_to_fifty(tree) -> None:
    tree("masks", "maps")
    for number in range(53):
        save(Path("masks", f"x{number:02}.png"))
    with pytest.raises(ValueError, match=r"53 of 55 masks .*: x00, .*, x49 and 3 more; add the missing maps"):
        paired("maps", "masks")


def test_a_protocol_with_a_size_takes_maps_of_any_size_as_they_are(tree) -> None:
    tree("masks", "maps")
    larger = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    save(Path("maps/b.png"), larger)
    with pytest.raises(ValueError, match="1 of 2 maps differ from their mask in size"):
        paired("maps", "masks")
    for resize in (False, True):
        _, prediction, mask = paired("maps", "masks", any_size=True, resize=resize)[1]()
        np.testing.assert_array_equal(prediction, larger)
        np.testing.assert_array_equal(mask, MASK)


def test_maps_saved_at_the_protocols_size_score_as_the_predictions_did(tree) -> None:
    """As scripts/eval.py saves them: rounded to 8 bits, at the size at which they are compared."""
    tree("masks")
    for binarise in (False, True):
        protocol = Protocol(size=48, binarise=binarise, fw_beta2=0.3)
        predictions = dict(zip("ab", np.random.default_rng(1).random((2, 48, 48)).astype(np.float32), strict=True))
        for stem, prediction in predictions.items():
            save(Path("maps", f"{stem}.png"), to_eight_bit(prediction))
        for saved in paired("maps", "masks", any_size=True):
            stem, read, mask = saved()
            expected = measure(to_eight_bit(predictions[stem]), MASK, protocol)
            assert measure(read, mask, protocol).scores == expected.scores
