"""The demo's upload folder, without a server."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.builders import micro_model

from ipsam.engine.inference.predictor import Predictor

pytest.importorskip("gradio", reason="the extra [demo] is not installed", exc_type=ImportError)
from ipsam.tools.demo import page, uploads


def test_only_uploads_are_opened(picture: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    (tmp_path / "files").mkdir()
    predictor = Predictor(micro_model(), image_size=64, device="cpu")
    for path in (tmp_path / "pond.png", tmp_path / "files" / "pond.png"):
        (missing,) = page.answers(predictor, {"path": str(path)}, page.Visit(), {})
        Image.fromarray(picture).save(path)
        first, *_ = page.answers(predictor, {"path": str(path)}, page.Visit(), {})
        assert uploads.REFUSED in missing["status"]
        assert "pond" not in missing["status"]
        assert (first["status"] == missing["status"]) is (path.parent == tmp_path)


def test_oldest_files_are_removed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(uploads, "MAX_KEPT", 4 * uploads.SMALLEST)
    (tmp_path / "private").symlink_to(Path(__file__).parent)
    for index in range(4):
        (tmp_path / str(index)).mkdir()
        (tmp_path / str(index) / "pond.png").touch()
        time.sleep(0.02)
    kept = lambda: sorted(path.parent.name for path in tmp_path.rglob("pond.png"))  # noqa: E731
    assert uploads.make_room(0)
    assert not uploads.make_room(1)
    assert kept() == ["0", "1", "2", "3"]
    monkeypatch.setattr(uploads, "IN_USE", 0.01)
    assert uploads.make_room(uploads.SMALLEST + 1)
    assert kept() == ["2", "3"]
    assert not uploads.make_room(5 * uploads.SMALLEST)
    assert kept() == []
    assert Path(__file__).exists()
