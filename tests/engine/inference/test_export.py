"""Exported models agree with PyTorch, for any number of images."""

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, UnidentifiedImageError
from support.builders import micro_model, randomise
from support.experiments import OPTIONS, tiny

from ipsam.data.decoding import limits
from ipsam.engine.inference.export import export
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.runs.configuration import build_model
from ipsam.model import inference
from ipsam.utils.imagenet import MEAN

onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.slow
SCRIPTS = Path(__file__).parents[3] / "scripts"


@pytest.fixture(scope="module")
def onnx_file(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(predictor, tmp_path_factory.mktemp("export") / "new" / "model.onnx")


@pytest.mark.parametrize("batch", [1, 2, 5])
@torch.no_grad()
def test_onnx_gives_the_same_logits(predictor: Predictor, onnx_file: Path, batch: int) -> None:
    image = torch.randn(batch, 3, 64, 64)
    expected = predictor.model(image).logits
    (logits,) = onnxruntime.InferenceSession(onnx_file).run(["logits"], {"image": image.numpy()})
    assert expected.std() > 0.05
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-3)


def test_onnx_file_describes_its_input(onnx_file: Path) -> None:
    session = onnxruntime.InferenceSession(onnx_file)
    about = session.get_modelmeta().custom_metadata_map
    assert about["image_size"] == "64"
    assert about["mean"] == str(list(MEAN))
    assert [(entry.name, entry.shape) for entry in session.get_inputs()] == [("image", ["batch", 3, 64, 64])]
    assert b'File "' not in onnx_file.read_bytes()
    assert [path.name for path in onnx_file.parent.iterdir()] == ["model.onnx"]  # no second file of weights


@torch.no_grad()
def test_torch_export_gives_the_same_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With other options too. The file's model is whole, though predictors split long token sequences into chunks."""
    monkeypatch.setattr(inference, "CHUNK", 16)
    model = build_model(tiny("cod_r32", *OPTIONS).model)
    for part in (model.gating, model.refine):
        randomise(part)
    predictor = Predictor(model, image_size=64, device="cpu", precision="fp32")
    program = torch.export.load(export(predictor, tmp_path / "model.pt2")).module()
    for batch in (1, 3):
        image = torch.randn(batch, 3, 64, 64)
        expected = predictor.model(image).logits
        assert expected.std() > 0.01
        torch.testing.assert_close(program(image), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(33, 200), (300, 240), (64, 64)])
def test_onnx_example_gives_the_map_of_the_api(
    predictor: Predictor, onnx_file: Path, tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By numpy and Pillow alone, within one level of 255."""
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    arguments = [str(onnx_file), str(tmp_path / "a.png"), str(tmp_path / "map.png")]
    monkeypatch.setattr(sys, "argv", ["predict_onnx.py", *arguments])
    runpy.run_path(str(SCRIPTS / "predict_onnx.py"), run_name="__main__")
    with Image.open(tmp_path / "map.png") as saved:
        found = np.asarray(saved).astype(int)
    expected = predictor.predict(tmp_path / "a.png").map
    assert found.shape == expected.shape == size[::-1]
    assert expected.max() - expected.min() > 20
    assert np.abs(found - expected).max() <= 1


def test_onnx_example_reads_the_same_formats(onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And starts no Ghostscript for an EPS called .jpg."""
    script = SCRIPTS / "predict_onnx.py"
    assert runpy.run_path(str(script))["FORMATS"] == limits.FORMATS
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    monkeypatch.setattr(sys, "argv", ["", str(onnx_file), str(tmp_path / "a.jpg"), str(tmp_path / "map.png")])
    with pytest.raises(UnidentifiedImageError):
        runpy.run_path(str(script), run_name="__main__")


@pytest.mark.usefixtures("untyped")
def test_export_errors_name_the_way_out(tmp_path: Path) -> None:
    plain: Any = Predictor(micro_model(), image_size=64, device="cpu")
    with pytest.raises(ValueError, match=r"model\.xyz: the ending selects the format, and must be \.onnx \(ONNX\)"):
        export(plain, tmp_path / "model.xyz")
    with pytest.raises(ValueError, match="device=cpu and precision=fp32"):
        export(Predictor(micro_model(), image_size=64, device="cpu", precision="bf16"), tmp_path / "model.onnx")

    class Odd(type(plain.model)):  # type: ignore[misc]
        def forward(self, image: torch.Tensor) -> Any:
            return super().forward(image if image.sum() > 0 else -image)

    plain.model.__class__ = Odd
    with pytest.raises(ValueError, match="Odd can't be exported: "):
        export(plain, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []
