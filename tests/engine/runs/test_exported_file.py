"""An exported file takes the place of a model's folder."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from support.onnx_files import brightness_model
from torch.nn.functional import avg_pool2d

from ipsam.cli import eval as command
from ipsam.data.placement import Placement
from ipsam.engine.inference.loading import load
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.inference.record import maker_of
from ipsam.engine.runs.exported_model import ExportedModel
from ipsam.utils.imagenet import normalise
from ipsam.utils.resources import CONFIGS
from ipsam.utils.untrusted import read_plain_json

pytest.importorskip("onnxruntime")

WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("torch", "torchvision", "sam2", "peft", "timm", "transformers", "accelerate"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from ipsam.__main__ import main
main()
"""


def test_onnx_file_predicts(tmp_path: Path) -> None:
    path = brightness_model(tmp_path / "model.onnx")
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    predictor, by_torch = load(path, device="cpu"), Predictor(ExportedModel(path), image_size=64, device="cpu")
    inputs = normalise(Placement.of(image.shape, 64, letterbox=False).image(image)[None])
    expected = avg_pool2d(inputs, 4).mean(1, keepdim=True) * 3
    torch.testing.assert_close(by_torch.model(inputs).logits, expected, atol=1e-5, rtol=1e-5)
    for options in ({}, {"letterbox": True}, {"tta": "flip", "zoom": True}):
        prob = predictor.predict(image, **options).prob
        np.testing.assert_allclose(prob, by_torch.predict(image, **options).prob, atol=1e-6)
        assert prob.shape == (40, 70)
    assert predictor.predict([image] * 3, batch_size=2, tta="flip")[2].prob.std() > 0.01
    assert maker_of(predictor, "model.onnx")["weights"] != maker_of(load("micro", device="cpu"), "micro")["weights"]
    with pytest.raises(ValueError, match=r"model\.onnx takes images of 64 px only, not of 96"):
        predictor.predict(image, size=96)
    with pytest.raises(ValueError, match=r"model\.onnx is computed as it was exported: leave precision=auto"):
        load(path, precision="bf16")
    with pytest.raises(ValueError, match=r"device=cuda can't be used here: .* is computed on cpu"):
        load(path, device="cuda")


@pytest.mark.slow
def test_onnx_file_predicts_the_same_without_torch(tmp_path: Path) -> None:
    path, photo = brightness_model(tmp_path / "model.onnx"), tmp_path / "photo.png"
    cv2.imwrite(str(photo), np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8))
    arguments = [f"ckpt={path}", f"input={photo}", f"output={tmp_path / 'masks'}", "save=[map,overlay,cutout]"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, "predict", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    map_ = cv2.imread(str(tmp_path / "masks" / "map" / "photo.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(map_, load(path, device="cpu").predict(photo).map)
    arguments[0] = "ckpt=lite"
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, "predict", *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: lite: any model but an exported file needs torch: pip install -e '.[torch]'" in done.stderr


def test_onnx_file_is_evaluated(tmp_path: Path) -> None:
    config = OmegaConf.load(CONFIGS / "eval.yaml")
    del config["defaults"]
    path = brightness_model(tmp_path / "model.onnx")
    values = {"ckpt": str(path), "out": str(tmp_path / "out"), "engine": {"cpu": True, "num_workers": 0}}
    values |= {"data": {"test": ["synthetic"], "synthetic": {"num_test": 2}}}
    command.main(OmegaConf.merge(config, values))
    assert read_plain_json(tmp_path / "out" / "metrics.json")["datasets"]["synthetic"]["num_images"] == 2


def test_unusable_onnx_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    brightness_model(path, described=False)
    with pytest.raises(ValueError, match=r"model\.onnx holds no image_size and letterbox: only files of ipsam export"):
        load(path)
    path.write_bytes(brightness_model(path).read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"model\.onnx is damaged or not an ONNX file"):
        load(path)
    with pytest.raises(FileNotFoundError, match=r"no model at .*other\.onnx"):
        load(tmp_path / "other.onnx")


@pytest.mark.parametrize("other", ["../secret", "secret"])
def test_onnx_file_can_name_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(other).write_bytes(np.ones(48, np.float32).tobytes())
    with pytest.raises(ValueError, match=r"model\.onnx is damaged or not an ONNX file with its weights inside"):
        ExportedModel(brightness_model(tmp_path / "model.onnx", outside=other))
