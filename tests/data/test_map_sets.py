import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from ipsam.data.map_pairs import SavedMap, pair_maps, truth_files
from ipsam.data.map_sets import MapFolder, Truth, find_maps, find_truths, method_name

MASK = np.zeros((6, 9), np.uint8)
MASK[2:4, 3:7] = 255


def save(path: Path, pixels: np.ndarray = MASK) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """In an empty folder, makes folders that hold a.png and b.png each."""
    monkeypatch.chdir(tmp_path)

    def make(*folders: str) -> None:
        for folder in folders:
            for name in ("a.png", "b.png"):
                save(Path(folder, name))

    return make


def truths(masks: str, images: str | None = None) -> list[tuple[str, str, str | None]]:
    found = find_truths(Path(masks), None if images is None else Path(images))
    shown = [(truth.name, truth.masks, truth.images) for truth in found]
    return [
        (name, *(None if p is None else os.path.relpath(p) for p in (masks, images))) for name, masks, images in shown
    ]


def maps(folder: str, masks: str) -> list[tuple[str | None, str, str]]:
    found = find_maps(Path(folder), find_truths(Path(masks)))
    return [(entry.method, entry.truth.name, entry.folder.as_posix()) for entry in found]


@pytest.mark.parametrize("kind", ["GT", "gt", "masks", "mask", "Mask", "GT_Object", "Ground Truth"])
def test_a_dataset_is_known_by_its_masks(tree, kind: str) -> None:
    tree(f"data/CAMO/{kind}", "data/CAMO/Imgs")
    expected = [("CAMO", f"data/CAMO/{kind}", "data/CAMO/Imgs")]
    assert truths("data") == truths("data/CAMO") == truths(f"data/CAMO/{kind}") == expected


@pytest.mark.parametrize("kind", ["Imgs", "images", "Image", "Original", "im"])
def test_images_are_found_beside_the_masks(tree, kind: str) -> None:
    tree("CAMO/GT", f"CAMO/{kind}")
    assert truths("CAMO") == [("CAMO", "CAMO/GT", f"CAMO/{kind}")]


def test_masks_directly_in_folders(tree) -> None:
    tree("data/B", "data/A", "data/.hidden", "data/__MACOSX", "mine")
    assert truths("data") == [("A", "data/A", None), ("B", "data/B", None)]
    assert truths("mine") == [("mine", "mine", None)]


def test_relative_paths_have_a_name_too(tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree("data/CAMO/GT", "data/CAMO/Imgs")
    monkeypatch.chdir("data/CAMO/GT")
    assert truths(".") == truths("../GT") == [("CAMO", ".", "../Imgs")]


def test_images_from_elsewhere(tree) -> None:
    tree("data/CAMO/GT", "data/ETIS/GT", "data/ETIS/Imgs", "img/CAMO", "img/etis-laribpolypdb/images", "other")
    expected = [("CAMO", "data/CAMO/GT", "img/CAMO"), ("ETIS", "data/ETIS/GT", "img/etis-laribpolypdb/images")]
    assert truths("data", "img") == expected
    assert truths("data/CAMO", "other") == [("CAMO", "data/CAMO/GT", "other")]
    with pytest.raises(ValueError, match="no images of CAMO in other"):
        truths("data", "other")
    with pytest.raises(FileNotFoundError, match="images=none: no such folder"):
        truths("data", "none")


def test_no_masks(tree) -> None:
    tree("CAMO/Imgs", "data/A/B")
    Path("empty").mkdir()
    for folder in ("CAMO", "data", "empty"):
        with pytest.raises(ValueError, match=f"no masks in {folder}: neither jpg/.* set masks=FOLDER"):
            truths(folder)
    with pytest.raises(FileNotFoundError, match="masks=none: no such folder"):
        truths("none")
    with pytest.raises(FileNotFoundError, match=r"masks=CAMO/Imgs/a.png: no folder"):
        truths("CAMO/Imgs/a.png")


def test_two_folders_that_may_be_meant(tree) -> None:
    tree("CAMO/GT", "CAMO/masks", "data/Kvasir", "data/Kvasir-SEG")
    with pytest.raises(ValueError, match="CAMO holds masks in GT, masks; set masks= to the one to use"):
        truths("CAMO")
    with pytest.raises(ValueError, match="both data/Kvasir and data/Kvasir-SEG stand for the dataset"):
        truths("data")


def test_maps_of_one_dataset(tree) -> None:
    tree("data/CAMO/GT", "maps", "methods/One", "methods/Two", "both/One/CAMO", "both/Two/camo", "sets/CAMO")
    assert maps("maps", "data/CAMO") == maps("maps", "data") == [(None, "CAMO", "maps")]
    assert maps("methods", "data/CAMO/GT") == [("One", "CAMO", "methods/One"), ("Two", "CAMO", "methods/Two")]
    assert maps("both", "data/CAMO/GT") == [("One", "CAMO", "both/One/CAMO"), ("Two", "CAMO", "both/Two/camo")]
    assert maps("sets", "data/CAMO/GT") == [(None, "CAMO", "sets/CAMO")]


def test_maps_of_several_datasets(tree) -> None:
    tree("data/ETIS-LaribPolypDB/masks", "data/Kvasir/masks", "data/mine/masks")
    tree("sets/etis", "sets/Kvasir-SEG", "methods/One/Mine", "methods/One/Kvasir", "methods/Two/ETIS", "methods/.git/x")
    assert maps("sets", "data") == [(None, "Kvasir", "sets/Kvasir-SEG"), (None, "ETIS-LaribPolypDB", "sets/etis")]
    assert maps("sets/etis", "data") == [(None, "ETIS-LaribPolypDB", "sets/etis")]
    assert maps("methods", "data") == [
        ("One", "Kvasir", "methods/One/Kvasir"),
        ("One", "mine", "methods/One/Mine"),
        ("Two", "ETIS-LaribPolypDB", "methods/Two/ETIS"),
    ]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("maps/One/CAMOU", "the maps in maps/One/CAMOU fit no dataset: none is named so, there are CAMO, NC4K; rename"),
        ("maps/One", "the maps in maps/One may belong to any of CAMO, NC4K; put them into a folder named like"),
        ("maps", "the maps in maps may belong to any of CAMO, NC4K"),
        ("maps/One/CAMO/deep", r"no maps in maps/One/CAMO \(jpg/.* files directly in it\)"),
        ("maps/CAMO maps/One", "the maps in maps/One fit no dataset: none is named so, there are CAMO, NC4K"),
        ("maps/CAMO/One", "the maps in maps/CAMO/One fit no dataset: none is named so, there are CAMO, NC4K"),
        ("maps/One/CAMO maps/One/camo", "both maps/One/CAMO and maps/One/camo stand for the dataset CAMO"),
    ],
)
def test_folders_that_fit_no_dataset(tree, made: str, message: str) -> None:
    tree("data/CAMO/GT", "data/NC4K/GT", *made.split())
    with pytest.raises(ValueError, match=message):
        maps("maps", "data")


def test_empty_folders_of_maps(tree) -> None:
    tree("data/CAMO/GT", "maps/One")
    Path("empty").mkdir()
    Path("maps/Two").mkdir()
    with pytest.raises(ValueError, match=r"no maps in empty: neither jpg/.* files nor folders; set maps=FOLDER"):
        maps("empty", "data")
    with pytest.raises(ValueError, match="no maps in maps/Two; fill it, or take it out of maps"):
        maps("maps", "data")
    with pytest.raises(FileNotFoundError, match="maps=none: no such folder"):
        maps("none", "data")


def test_what_a_single_method_is_called(tree) -> None:
    found = [Truth("CVC-ClinicDB", Path("masks"), None)]
    assert method_name(Path("PraNet/CVC-ClinicDB"), found) == "PraNet"
    assert method_name(Path("results/PraNet"), found) == "PraNet"


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
@pytest.mark.parametrize("folder", ["maps", os.fsdecode(b"maps/caf\xe9")])
def test_a_name_that_can_not_be_printed(tree, folder: str) -> None:
    tree("masks", folder)
    Path(folder, "a.png").rename(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    with pytest.raises(ValueError, match=r"caf\\xe9.*: the name is not UTF-8 and can't be reported; rename it"):
        paired("maps", "masks")


def paired(folder: str, masks: str, stems: Path | None = None, **options) -> list[SavedMap]:
    (truth,) = find_truths(Path(masks))
    (found,) = find_maps(Path(folder), [truth])
    return pair_maps(found, truth_files(truth, stems), **options)


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
    message = r"7 of 9 masks have no map of the same stem in maps: x0, x1, x2, x3, x4 and 2 more; .*missing=exclude"
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


def test_labels_tell_method_and_dataset() -> None:
    truth = Truth("CAMO", Path("masks"), None)
    assert MapFolder(None, truth, Path("maps")).label == "CAMO"
    assert MapFolder("One", truth, Path("maps")).label == "One on CAMO"
