"""The command predict, and its agreement with all other ways to a map."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from support.builders import REAL_DATA
from support.figure_runs import write_run, write_set

import ipsam
from ipsam.data.images import image_size
from ipsam.engine.inference.jobs import find_jobs
from ipsam.engine.inference.loading import DEFAULT_MODEL
from ipsam.engine.inference.record import claim
from ipsam.utils.files import write_text

SCRIPTS = Path(__file__).parents[2] / "scripts"


def grey(path: Path | str) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    assert pixels.ndim == 2
    return pixels.astype(int)


def test_broken_files_do_not_stop_others(script: Callable[..., Any]) -> None:
    write_set("own")
    Path("own/images/e.jpg").write_bytes(Path("own/images/a.png").read_bytes()[:200])
    Path("own/images/notes.txt").write_text("no picture")
    done = script("predict", "input=own/images", "output=out")
    assert done.status == 1
    assert "4 written, 0 there already, 1 failed: out" in done.out
    assert done.err.count("own/images/e.jpg: broken, or no image") == 1
    assert sorted(path.name for path in Path("out/map").iterdir()) == ["a.png", "b.png", "c.png", "d.png"]
    Path("own/images/e.jpg").unlink()
    done = script("predict", "input=own/images", "output=out")
    assert (done.status, "0 written, 4 there already, 0 failed" in done.out) == (0, True)


def test_names_that_would_collide_are_kept_apart(script: Callable[..., Any]) -> None:
    """WebP is read and GIF reported."""
    write_set("own", stems="a")
    picture = Image.open("own/images/a.png")
    Path("in").mkdir()
    for name in ("a.png", "a.bmp", "a.png.png", "w.webp", "g.gif"):
        picture.save(Path("in", name))
    done = script("predict", "input=in", "output=in/out")
    assert "4 written, 0 there already, 0 failed" in done.out
    assert "in: 1 not read (1 .gif); save pictures as PNG" in done.out
    names = ["a.bmp.png", "a.png.png", "a.png.png.png", "w.png"]
    assert sorted(path.name for path in Path("in/out/map").iterdir()) == names


@pytest.mark.slow
@pytest.mark.parametrize("output", ["own/images", "own", "own/images/out"])
def test_predictions_are_not_predicted(script: Callable[..., Any], output: str) -> None:
    """Predictions of this and other runs are passed over, wherever they lie in the input."""
    write_set("own")
    assert "4 written" in script("predict", "input=own/images", f"output={output}", "save=[map,mask]").out
    assert "4 there already" in script("predict", "input=own/images", f"output={output}").out
    for source in ("own/images", "own/images/**/*.png"):
        for other in (output, "elsewhere"):
            assert len(find_jobs(source, Path(other), ["overlay"])) == 4


@pytest.mark.slow
def test_predictions_of_another_model_are_told_apart(script: Callable[..., Any], run: Path) -> None:
    write_set("own")
    images = "input=own/images"
    assert script("predict", images, "output=out").status == 0
    made = json.loads(Path("out/predictions.json").read_text())
    assert made["map"]["ckpt"] == DEFAULT_MODEL
    first = grey("out/map/a.png")
    for other in ("ckpt=run", "precision=bf16"):
        done = script("predict", images, "output=out", other)
        assert done.status == 1
        assert "out/map holds 4 predictions by another model or precision, or with other options" in done.err
        assert f"(ckpt={DEFAULT_MODEL}, fp32); name" in done.err
        assert "or say overwrite=true" in done.err
    assert "4 written" in script("predict", images, "output=out", "ckpt=run", "save=[mask]").out  # another folder
    done = script("predict", "input=own/images/a.png", "output=out", "ckpt=run", "overwrite=true")
    assert "or remove that one" in done.err  # three would stay
    assert np.array_equal(grey("out/map/a.png"), first)
    assert "4 written" in script("predict", images, "output=out", "ckpt=run", "overwrite=true").out
    assert not np.array_equal(grey("out/map/a.png"), first)
    assert "4 there already" in script("predict", images, "output=out", "ckpt=run", "save=[map,mask]").out


def test_refused_kind_removes_no_other(tmp_path: Path) -> None:
    former, latter = ({"configuration": "", "precision": "fp32", "ckpt": one, "weights": one} for one in "ab")
    claim(tmp_path, {"map": [], "mask": []}, former, overwrite=False)
    files = [tmp_path / "map/a.png", tmp_path / "mask/a.png", tmp_path / "mask/b.png"]
    for file in files:
        write_text(file, "")
    with pytest.raises(ValueError, match=r"mask holds 2 predictions by another model .*, or remove that one"):
        claim(tmp_path, {"map": files[:1], "mask": files[1:2]}, latter, overwrite=True)
    assert all(file.is_file() for file in files)
    claim(tmp_path, {"map": files[:1], "mask": files[1:]}, latter, overwrite=True)
    assert not any(file.is_file() for file in files)


LISTED = '{"map": ["weights", "configuration", "precision", "ckpt"]}'


@pytest.mark.parametrize("record", [None, "[]", '{"map": {}}', '{"map": 1, "x": 2}', LISTED, "x" * 100_000])
def test_strangers_files_are_left_alone(script: Callable[..., Any], record: str | None) -> None:
    write_set("own")
    Path("out/map").mkdir(parents=True)
    Path("out/map/a.png").write_bytes(b"mine")
    if record is not None:
        Path("out/predictions.json").write_text(record)
    done = script("predict", "input=own/images", "output=out", "overwrite=true")
    assert done.status == 1
    assert "name another folder" in done.err
    assert Path("out/map/a.png").read_bytes() == b"mine"
    assert record is None or Path("out/predictions.json").read_text() == record


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_files_are_read_as_by_pillow(script: Callable[..., Any], name: str) -> None:
    rows, columns = np.mgrid[:60, :80]
    cv2.imwrite(name, (rows * 700 + columns * 200).astype(np.uint16))
    predictor = ipsam.load("micro", device="cpu")
    by_path, by_pillow = predictor.predict(name), predictor.predict(Image.open(name))
    assert np.array_equal(by_path.image, by_pillow.image)
    assert by_path.image.max() > 200


def test_micro_model_is_evaluated_into_the_named_folder(script: Callable[..., Any]) -> None:
    own = write_set("own")
    test = f"data.test=[{{name: own, images: {own['images']}, masks: {own['masks']}}}]"
    done = script("eval", "ckpt=micro", test, "out=out", "maps=true", "engine.num_workers=0")
    assert done.status == 0, done.err
    predictor = ipsam.load("micro", device="cpu")
    for stem in "abcd":
        expected = predictor.predict(f"own/images/{stem}.png").map.astype(int)
        assert np.abs(grey(f"out/maps/own/{stem}.png") - expected).max() <= 1


def test_options_reach_the_pictures_and_the_evaluation(script: Callable[..., Any]) -> None:
    """Another input size gives the maps of the evaluation at that size; records tell predictions apart."""
    own = write_set("own", size=(40, 90))
    test = f"data.test=[{{name: own, images: {own['images']}, masks: {own['masks']}}}]"
    options = ("size=96", "letterbox=true", "tta=none", "background=#102030", "crop=0", "threshold=0.6")
    done = script("predict", "ckpt=micro", "input=own/images", "output=out", "save=[map,cutout,coco]", *options)
    assert done.status == 0, done.err
    united = json.loads(Path("out/coco.json").read_text())
    assert [one["file_name"] for one in united["images"]] == [f"{stem}.png" for stem in "abcd"]
    assert [one["id"] for one in united["images"]] == [1, 2, 3, 4]
    done = script("eval", "ckpt=micro", test, "out=eval", "maps=true", "engine.num_workers=0",
                  "data.image_size=96", "data.letterbox=true")  # fmt: skip
    assert done.status == 0, done.err
    plain = ipsam.load("micro", device="cpu")
    for stem in "abcd":
        assert np.abs(grey(f"out/map/{stem}.png") - grey(f"eval/maps/own/{stem}.png")).max() <= 1
        assert np.abs(grey(f"out/map/{stem}.png") - plain.predict(f"own/images/{stem}.png").map).max() > 1
        with Image.open(f"out/cutout/{stem}.png") as cutout:
            assert cutout.mode == "RGB"
    done = script("predict", "ckpt=micro", "input=own/images", "output=out")
    assert "by another model or precision, or with other options" in done.err


@pytest.mark.slow
def test_every_way_gives_the_same_map(script: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """API, command, ONNX without torch and evaluation differ by at most one level of 255."""
    pytest.importorskip("onnxruntime")
    run = write_run("run", [write_set("own", size=(40, 90))], "data.letterbox=true")
    predictor = ipsam.load(run, device="cpu")
    assert script("predict", "ckpt=run", "input=own/images", "output=by_script").status == 0
    assert script("eval", "ckpt=run", "maps=true", "engine.num_workers=0").status == 0
    assert script("export", "ckpt=run", "output=model.onnx").status == 0
    for stem in "abcd":
        monkeypatch.setattr(sys, "argv", ["", "model.onnx", f"own/images/{stem}.png", f"{stem}_onnx.png"])
        runpy.run_path(str(SCRIPTS / "predict_onnx.py"), run_name="__main__")
        by_api = predictor.predict(f"own/images/{stem}.png").map.astype(int)
        assert by_api.max() - by_api.min() > 10
        for other in (f"by_script/map/{stem}.png", f"run/eval/maps/own/{stem}.png", f"{stem}_onnx.png"):
            assert np.abs(grey(other) - by_api).max() <= 1, other


@pytest.mark.data
def test_real_images(script: Callable[..., Any], tmp_path: Path) -> None:
    """26 images of COD10K and 4 of CAMO in a tree, with a broken and a text file."""
    cod = REAL_DATA / "cod"
    if not (cod / "unlabeled").is_dir():
        pytest.skip(f"no images of COD10K in {REAL_DATA}: set IPSAM_TEST_DATA")
    sources = [*(cod / "unlabeled").glob("*.jpg"), *(cod / "TestDataset/CAMO/Imgs").glob("*.jpg")]
    assert len(sources) == 30
    for source in sources:
        link = tmp_path / "in" / source.relative_to(cod)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(source)
    (tmp_path / "in/unlabeled/broken.jpg").write_bytes(sources[0].read_bytes()[:5000])
    (tmp_path / "in/notes.txt").write_text("no picture")
    done = script("predict", "ckpt=micro", "input=in", "output=out")
    assert done.status == 1
    assert "30 written, 0 there already, 1 failed: out" in done.out
    assert "in/unlabeled/broken.jpg: broken" in done.err
    for source in sources:
        assert grey(Path("out/map", source.relative_to(cod)).with_suffix(".png")).shape == image_size(source)
    assert len([path for path in Path("out/map").rglob("*") if path.is_file()]) == 30
