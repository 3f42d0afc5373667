import logging
import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.map_files import MASK, save

from ipsam.data.saved_maps.map_pairs import PairedMaps, SavedMap, pair_maps, truth_files
from ipsam.data.saved_maps.map_sets import find_maps, find_truths
from ipsam.engine.metrics import Protocol, measure, to_eight_bit


def pair(folder: str, masks: str, stems: Path | None = None, **options) -> PairedMaps:
    (truth,) = find_truths(Path(masks))
    (found,) = find_maps(Path(folder), [truth])
    return pair_maps(found, truth_files(truth, stems), **options)


def paired(folder: str, masks: str, **options) -> list[SavedMap]:
    return pair(folder, masks, **options).maps


def test_accents_of_two_codes_are_found_under_their_own_name(tree) -> None:
    tree("CAMO/GT")
    for folder in ("maps", "CAMO/GT"):
        save(Path(folder) / "e\u0301.png")
    (pair,) = [one for one in paired("maps", "CAMO", missing="exclude") if one.stem == "\xe9"]
    assert (pair.map, pair.mask) == (Path("maps/e\u0301.png"), Path("CAMO/GT/e\u0301.png"))


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


def test_listing_shows_maps_that_were_written_again(tree) -> None:
    """Their sizes need not differ."""
    tree("CAMO/GT")
    for name in ("a", "b"):
        save(Path(f"maps/{name}.bmp"))
    before = list(pair("maps", "CAMO").listing())
    assert list(pair("maps", "CAMO").listing()) == before
    os.utime("maps/b.bmp", (0, 0))
    after = list(pair("maps", "CAMO").listing())
    assert [now == then for now, then in zip(after, before, strict=True)] == [True, False]


def test_missing_and_extra_maps_are_logged(tree, caplog: pytest.LogCaptureFixture) -> None:
    tree("masks", "maps")
    for name in ("masks/x.png", "maps/y.png", "maps/z.png", "masks/v.ppm", "maps/w.gif"):
        save(Path(name))
    caplog.set_level(logging.INFO)
    found = pair("maps", "masks", missing="exclude")
    assert [one.stem for one in found.maps] == ["a", "b"]
    assert found.left_out == {"without a map (missing=exclude)": ["x"]}
    assert "ONLY 2 OF 3 IMAGES ARE SCORED" in caplog.text
    assert "2 maps have no mask and are not scored: y, z" in caplog.text
    assert "1 pictures in masks have a format that is not read: v.ppm; save them as PNG" in caplog.text
    assert "1 pictures in maps have a format that is not read: w.gif; save them as PNG" in caplog.text


def test_list_of_stems_selects_masks(tree, caplog: pytest.LogCaptureFixture) -> None:
    tree("masks", "maps")
    save(Path("masks/c.png"))
    save(Path("masks/c.jpg"))  # two masks of one stem, neither of them in the list
    Path("list.txt").write_text("b.png\n\na\n", encoding="utf-8")
    caplog.set_level(logging.INFO)
    found = pair("maps", "masks", Path("list.txt"))
    assert [one.stem for one in found.maps] == ["a", "b"]
    assert found.left_out == {"not in the list (stems=list.txt)": ["c"]}
    assert "2 of 3 masks are in list.txt and scored" in caplog.text


def test_maps_are_resized_on_request(tree, caplog: pytest.LogCaptureFixture) -> None:
    tree("masks", "maps")
    smaller = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    save(Path("maps/b.png"), smaller)
    caplog.set_level(logging.INFO)
    _, prediction, mask = paired("maps", "masks", resize=True)[1]()
    assert "1 of 2 maps are resized to their mask's size (resize=true)" in caplog.text
    assert mask.shape == (6, 9)
    np.testing.assert_array_equal(prediction, cv2.resize(smaller, (9, 6), interpolation=cv2.INTER_LINEAR))


def test_tiff_whose_header_only_opencv_reads_is_paired(tree) -> None:
    save(Path("masks/a.png"))
    Path("maps").mkdir()
    cv2.imwrite("maps/a.tif", MASK.astype(np.float64) / 255)
    ((_, prediction, _),) = [saved() for saved in paired("maps", "masks")]
    np.testing.assert_array_equal(prediction, MASK.astype(np.float32) / 255)


@pytest.mark.parametrize("resize", [False, True])
def test_protocol_with_a_size_gets_maps_unresized(tree, resize: bool) -> None:
    tree("masks", "maps")
    larger = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    save(Path("maps/b.png"), larger)
    _, prediction, mask = paired("maps", "masks", any_size=True, resize=resize)[1]()
    np.testing.assert_array_equal(prediction, larger)
    np.testing.assert_array_equal(mask, MASK)


@pytest.mark.parametrize("binarise", [False, True])
def test_maps_saved_at_the_protocols_size_score_like_the_predictions(tree, binarise: bool) -> None:
    """The evaluation saves them so: rounded to 8 bits, at the size at which they are compared."""
    tree("masks")
    protocol = Protocol(size=48, binarise=binarise, fw_beta2=0.3)
    predictions = dict(zip("ab", np.random.default_rng(1).random((2, 48, 48)).astype(np.float32), strict=True))
    for stem, prediction in predictions.items():
        save(Path("maps", f"{stem}.png"), to_eight_bit(prediction))
    for saved in paired("maps", "masks", any_size=True):
        stem, read, mask = saved()
        expected = measure(to_eight_bit(predictions[stem]), MASK, protocol)
        assert measure(read, mask, protocol).scores == expected.scores
