"""An ONNX file takes the place of a model's folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from support.onnx_files import brightness_model
from torch.nn.functional import avg_pool2d

from ipsam.cli import eval as command
from ipsam.data.placement import Placement
from ipsam.engine.inference.predictor import load
from ipsam.engine.inference.record import maker_of
from ipsam.engine.runs.onnx_model import OnnxModel
from ipsam.utils.imagenet import normalise
from ipsam.utils.resources import CONFIGS
from ipsam.utils.untrusted import read_plain_json

pytest.importorskip("onnxruntime")


def test_onnx_file_predicts(tmp_path: Path) -> None:
    path = brightness_model(tmp_path / "model.onnx")
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    predictor = load(path, device="cpu")
    inputs = normalise(Placement.of(image.shape, 64, letterbox=False).image(image)[None])
    expected = avg_pool2d(inputs, 4).mean(1, keepdim=True) * 3
    torch.testing.assert_close(predictor.model(inputs).logits, expected, atol=1e-5, rtol=1e-5)
    assert predictor.predict(image).prob.shape == (40, 70)
    assert predictor.predict([image] * 3, batch_size=2, tta="flip")[2].prob.std() > 0.01
    assert maker_of(predictor, "model.onnx")["weights"] != maker_of(load("micro", device="cpu"), "micro")["weights"]
    with pytest.raises(ValueError, match="OnnxModel takes images of 64 px only, not of 96"):
        predictor.predict(image, size=96)


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
    (tmp_path.parent / "secret").write_bytes(np.float32(3).tobytes())
    with pytest.raises(ValueError, match=r"model\.onnx is damaged or not an ONNX file with its weights inside"):
        OnnxModel(brightness_model(path, outside=True))
    with pytest.raises(FileNotFoundError, match=r"no model at .*other\.onnx"):
        load(tmp_path / "other.onnx")
