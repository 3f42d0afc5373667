"""Exported files hold nothing of the exporter's machine, and are written completely or not at all; by a tiny model."""

import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.quick import only
from support.saved import limited_files, names
from torch import Tensor, nn

import ipsam
from ipsam.engine.inference.export import check_target, export, program

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.usefixtures("untyped")
ENDINGS = only({".pt2"}, [".onnx", ".pt2"])


class Tiny(nn.Module):
    """Model of 150 KB."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 64, 3)
        self.deep = nn.Conv2d(64, 64, 3)

    def forward(self, image: Tensor) -> Any:
        return SimpleNamespace(logits=self.deep(self.wide(image).relu())[:, :1])


@pytest.fixture
def tiny() -> Any:
    """A predictor as far as export reads it."""
    return SimpleNamespace(device=torch.device("cpu"), bf16=False, image_size=8, letterbox=False, model=Tiny().eval())


def content_of(path: Path) -> bytes:
    if path.suffix == ".onnx":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


@pytest.mark.parametrize("ending", ENDINGS)
def test_file_holds_no_path_and_no_source_line(tiny: Any, tmp_path: Path, ending: str) -> None:
    content = content_of(export(tiny, tmp_path / f"model{ending}"))
    package = Path(ipsam.__file__).parents[1]
    for trace in (
        b'File "',
        b"site-packages",
        b".py",
        b"ipsam.engine",
        *(str(one).encode() for one in (package, sys.prefix)),
    ):
        assert trace not in content


@pytest.mark.slow
def test_batch_axis_has_its_name(tiny: Any, tmp_path: Path) -> None:
    graph = onnx.load(export(tiny, tmp_path / "model.onnx")).graph
    for value in (*graph.input, *graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.parametrize("ending", ENDINGS)
def test_full_disk_leaves_the_former_file(tiny: Any, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model{ending}"
    path.write_text("former")
    with limited_files(50_000), pytest.raises(OSError, match="File too large") as error:
        export(tiny, path)
    assert error.value.filename == str(path)
    assert path.read_text() == "former"
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("model.xyz", r"the ending selects the format, and must be \.onnx \(ONNX\)"),
        ("/proc/model.pt2", r"output=/proc/model\.pt2: can't be written as a file \(.*\); set output=FILE"),
        ("folder.pt2", r"output=folder\.pt2: can't be written as a file \(it is a folder\)"),
        ("folder.pt2/file/model.pt2", "can't be written as a file"),
        (f"{'x' * 300}.pt2", "File name too long"),
    ],
)
def test_impossible_target_is_named_before_the_work(
    tmp_path: Path, target: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.pt2").mkdir()
    Path("folder.pt2", "file").touch()
    with pytest.raises(ValueError, match=reason):
        export(None, target)


def test_missing_extra_is_named_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"extra \[export\]"):
        check_target("model.onnx")
