"""What holds for every annotated format: one set, however it is annotated, is one set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from support.annotated import SHAPES, SIZES, WRITERS, write_coco
from support.defaults import data_with
from support.doctor_files import examined, found, message, save, stops
from support.map_files import refused
from torch.utils.data import DataLoader

from ipsam.data import Data
from ipsam.data.batches import collate_train
from ipsam.tools.prepare.doctor import diagnose

FORMATS = pytest.mark.parametrize("kind", WRITERS)
CAT = {"coco": ["cat"], "yolo": [1], "labelme": ["cat"]}


def data(root: Path, spec: dict[str, Any], **options: Any) -> Data:
    return data_with(**{"image_size": 32, "root": root, "train": [spec], "test": [spec]} | options)


def masks(given: Data) -> dict[str, np.ndarray]:
    source = given.test_sets()["own"].source
    return {name: source.read(index, 0).mask for index, name in enumerate(source.names())}


@pytest.mark.parametrize("options", [{}, {"letterbox": True}, {"augment": {"crop": 0.5}}], ids=str)
def test_formats_of_one_set_give_one_training_batch(tmp_path: Path, options: dict[str, Any]) -> None:
    batches = {}
    for kind, write in WRITERS.items():
        train_set, _ = data(tmp_path, write(tmp_path), **options).train_and_val(seed=3)
        assert train_set is not None
        (batches[kind],) = DataLoader(train_set, batch_size=4, collate_fn=collate_train)
    for batch in batches.values():
        assert torch.equal(batch["image"], batches["coco"]["image"])
        assert torch.equal(batch["mask"], batches["coco"]["mask"])
        assert 0 < batch["mask"].float().mean() < 255
        assert batch["mask"][3].max() == 0  # d has no annotation


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools's
@FORMATS
def test_masks_are_those_of_the_coco_api(tmp_path: Path, kind: str) -> None:
    write_coco(tmp_path)
    api = COCO(str(tmp_path / "coco/all.json"))
    found_masks = masks(data(tmp_path, WRITERS[kind](tmp_path)))
    assert list(found_masks) == list(SIZES)
    for number, (stem, mask) in enumerate(found_masks.items()):
        instances = [api.annToMask(one) for one in api.imgToAnns[number]]
        expected = np.any([np.zeros(SIZES[stem]), *instances], axis=0) * 255
        np.testing.assert_array_equal(mask, expected)


@FORMATS
def test_category_chooses_the_instances(tmp_path: Path, kind: str) -> None:
    spec = WRITERS[kind](tmp_path)
    whole, cats = masks(data(tmp_path, spec)), masks(data(tmp_path, spec | {"category": CAT[kind]}))
    for stem, shapes in SHAPES.items():
        assert (whole[stem] >= cats[stem]).all()
        labels = {label for label, _ in shapes}
        assert (whole[stem] > cats[stem]).any() == ("dog" in labels)
        assert cats[stem].any() == ("cat" in labels)
    message = refused(lambda: data(tmp_path, spec | {"category": "horse"}).test_sets(), "no category is called horse")
    assert all(str(one) in message for one in CAT[kind])


@FORMATS
def test_images_without_annotation_are_background_and_counted(tmp_path: Path, kind: str, caplog: Any) -> None:
    spec = WRITERS[kind](tmp_path)
    with caplog.at_level("INFO"):
        assert not masks(data(tmp_path, spec))["d"].any()
    text = "own/test: 1 of 4 images have no annotation to draw in"
    assert text in caplog.text
    assert "they count as background throughout: d; see that this is meant, or leave them out with" in caplog.text
    diagnosis = examined(data(tmp_path, spec))
    assert found(diagnosis, "own/test")["images without annotation to draw"] == "remark"
    assert diagnosis.sets[1].num_pairs == 4
    assert not diagnosis.would_stop


@FORMATS
def test_folders_options_work(tmp_path: Path, kind: str) -> None:
    """Exclude, list, val_fraction, cache and size_mismatch."""
    spec = WRITERS[kind](tmp_path)
    (tmp_path / "some.txt").write_text("a.png\nc\n")
    assert list(masks(data(tmp_path, spec | {"list": "some.txt"}))) == ["a", "c"]
    test_set = data(tmp_path, spec, exclude=["own/b"]).test_sets()["own"]
    assert (test_set.source.names(), test_set.left_out) == (["a", "c", "d"], {"by exclude": ["b"]})
    kept, held_out = data(tmp_path, spec, val_fraction=0.25).train_and_val(seed=0)
    assert kept is not None
    assert held_out is not None
    assert sorted(kept.source.names() + held_out.source.names()) == list(SIZES)
    plain, cached = (data(tmp_path, spec, cache=cache).train_and_val(0)[0] for cache in (None, tmp_path / "cache"))
    assert plain is not None
    assert cached is not None
    for index in range(4):
        assert torch.equal(plain[index]["image"], cached[index]["image"])
        assert torch.equal(plain[index]["mask"], cached[index]["mask"])
    assert list(plain.source.listing()) == list(cached.source.listing())


@pytest.mark.parametrize("kind", ["coco", "labelme"])
def test_size_mismatch_is_found(tmp_path: Path, kind: str) -> None:
    spec = WRITERS[kind](tmp_path)
    save(tmp_path / ("coco/images" if kind == "coco" else "labelme") / "b.png", np.zeros((20, 30, 3), np.uint8))
    given = data(tmp_path, spec)
    refused(
        given.test_sets, "own/test: in 1 of 4 pairs image and mask differ in size", "b.png 20x30 with mask", "40x60"
    )
    assert found(examined(given), "own/test")["size mismatch"] == "error"
    assert masks(data(tmp_path, spec, size_mismatch="resize"))["b"].shape == (40, 60)
    assert list(masks(data(tmp_path, spec, size_mismatch="exclude"))) == ["a", "c", "d"]


@FORMATS
def test_listing_and_cache_change_with_the_annotation_alone(tmp_path: Path, kind: str) -> None:
    """A copy elsewhere is the same set."""
    listings, caches = [], []
    for folder, category in (("one", {}), ("two", {}), ("two", {"category": CAT[kind]})):
        if not (tmp_path / folder).exists():
            (tmp_path / folder).mkdir()
            spec = WRITERS[kind](tmp_path / folder)
        train_set, _ = data(tmp_path / folder, spec | category, cache=tmp_path / "cache").train_and_val(0)
        assert train_set is not None
        listings.append(list(train_set.source.listing()))
        caches.append(getattr(train_set.source, "sources", [None])[0])
    assert listings[0] == listings[1] != listings[2]
    assert len({one.path for one in caches}) == 3  # another folder's files may have another content


@FORMATS
def test_missing_image_is_named(tmp_path: Path, kind: str) -> None:
    spec = WRITERS[kind](tmp_path)
    (image,) = tmp_path.rglob("b.png")
    image.unlink()
    given = data(tmp_path, spec)
    refused(given.test_sets, "own/test:", "b.txt" if kind == "yolo" else "b.png: no such file", "exclude=[own/test/b]")
    assert examined(given).would_stop
    assert not stops(data(tmp_path, spec, exclude=["b"]))


@FORMATS
@pytest.mark.parametrize("num_workers", [0, 2])
def test_doctor_reads_every_file(tmp_path: Path, kind: str, num_workers: int) -> None:
    spec = WRITERS[kind](tmp_path)
    shares = [mask.mean() / 255 for mask in masks(data(tmp_path, spec)).values()]
    (image,) = tmp_path.rglob("c.png")
    image.write_bytes(image.read_bytes()[:100])
    diagnosis = diagnose(data(tmp_path, spec, test=[]), num_workers=num_workers)
    (report,) = diagnosis.sets
    assert (report.num_pairs, diagnosis.num_files) == (4, 8)
    assert "c.png: broken" in message(diagnosis, "unreadable file")
    assert report.sizes == [SIZES[stem] for stem in "abcd"]
    assert report.shares == pytest.approx(shares)
    image.unlink()
    diagnosis = diagnose(data(tmp_path, spec, exclude=["c"]), num_workers=num_workers)
    assert "3 of 3 images are among the training images too" in message(diagnosis, "tested on training images")
