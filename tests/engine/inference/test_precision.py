"""Exported files at each precision predict as the fp32 file does, and hold its metadata."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.onnx_files import brightness_model
from support.quick import only

from ipsam.engine.inference.export import check_target
from ipsam.engine.inference.export.precision import write_at
from ipsam.engine.inference.loading import load

onnx = pytest.importorskip("onnx")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng, paths = np.random.default_rng(0), [tmp_path / f"{index}.png" for index in range(3)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 70, 3), dtype=np.uint8)).resize((90, 60)).save(path)
    return paths


def probabilities(model: Path, picture: Path) -> np.ndarray:
    predictor = load(model, device="cpu")
    assert predictor.letterbox  # from the metadata
    found: np.ndarray = predictor.predict(picture).prob
    return found


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_onnx_of_lower_precision_predicts(tmp_path: Path, pictures: list[Path], precision: str) -> None:
    plain = onnx.load(brightness_model(tmp_path / "plain.onnx", letterbox=True))
    write_at(precision, plain, tmp_path / "lower.onnx", pictures)
    lower = onnx.load(tmp_path / "lower.onnx")
    kinds = {one.data_type for one in lower.graph.initializer}
    assert (onnx.TensorProto.FLOAT16 if precision == "fp16" else onnx.TensorProto.INT8) in kinds
    assert lower.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert str(tmp_path).encode() not in lower.SerializeToString()
    expected = probabilities(tmp_path / "plain.onnx", pictures[0])
    difference = np.abs(probabilities(tmp_path / "lower.onnx", pictures[0]) - expected).max()
    assert difference < 0.02 < expected.std()


@pytest.mark.usefixtures("openvino")
@pytest.mark.parametrize("precision", only({"bf16", "fp32"}, ["fp32", "bf16", "int8"]))
def test_openvino_file_predicts(tmp_path: Path, pictures: list[Path], precision: str) -> None:
    plain = onnx.load(brightness_model(tmp_path / "plain.onnx", letterbox=True))
    write_at(precision, plain, tmp_path / "model.xml", pictures)
    assert sorted(path.suffix for path in tmp_path.glob("model.*")) == [".bin", ".xml"]
    assert b"/" + tmp_path.name.encode() not in (tmp_path / "model.xml").read_bytes()
    expected = probabilities(tmp_path / "plain.onnx", pictures[0])
    difference = np.abs(probabilities(tmp_path / "model.xml", pictures[0]) - expected).max()
    assert difference < (1e-5 if precision == "fp32" else 0.02) < expected.std()
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.xml is damaged or not an OpenVINO file with its weights beside it"):
        load(tmp_path / "model.xml", size=64)


@pytest.mark.usefixtures("openvino")
def test_threads_get_their_own_maps_of_an_openvino_file(tmp_path: Path) -> None:
    write_at("fp32", onnx.load(brightness_model(tmp_path / "plain.onnx", side=448)), tmp_path / "model.xml")
    predictor = load(tmp_path / "model.xml", device="cpu")
    images = [np.full((9, 9, 3), 8 * level, np.uint8) for level in range(32)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(predictor.predict, images))
    assert [one.prob.max() for one in found] == [one.prob.max() for one in predictor.predict(images)]


@pytest.mark.usefixtures("openvino")
def test_openvino_file_can_name_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO would read ONNX under any name, with weights from the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("secret").write_bytes(np.ones(48, np.float32).tobytes())
    brightness_model(tmp_path / "model.xml", outside="secret")
    Path("model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"model\.xml is damaged or not an OpenVINO file .*: it is no XML"):
        load(tmp_path / "model.xml")


@pytest.mark.parametrize(
    ("target", "precision", "calibrated", "reason"),
    [
        ("model.pt2", "int8", True, r"precision=int8: a file \.pt2 can have fp32"),
        ("model.xml", "fp16", False, r"precision=fp16: a file \.xml can have fp32, bf16, int8"),
        ("model.onnx", "int8", False, "calibration=FOLDER"),
        ("model.onnx", "fp32", True, "calibration=FOLDER"),
    ],
)
def test_impossible_precision_is_named(
    tmp_path: Path, target: str, precision: str, calibrated: bool, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        check_target(tmp_path / target, precision, calibrated=calibrated)
