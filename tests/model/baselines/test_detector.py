"""YOLOv8: the most confident box; files unpickled without running anything."""

import os
import pickle
import sys
from contextlib import suppress
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

if find_spec("ultralytics") is None:
    pytest.skip("needs ultralytics", allow_module_level=True)

from ipsam.model.baselines import SAM2, DetectedBox, WholeImageBox, YOLOv8
from ipsam.model.baselines.detector import NOTHING_FOUND
from ipsam.model.baselines.promptable import Prompts


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as YOLOv8's authors publish it: whole modules in half precision, pickled, and more entries."""
    YOLOv8("n")  # ultralytics is imported here first, see the test below
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.utils import IterableSimpleNamespace

    torch.manual_seed(3)
    model = DetectionModel("yolov8n.yaml", verbose=False).half()
    model.args = IterableSimpleNamespace(box=7.5, model="yolov8n.yaml")
    path = tmp_path_factory.mktemp("weights") / "yolov8n.pt"
    others = {"epoch": -1, "ema": None, "best_fitness": np.float64(0.5), "when": datetime.now(), "at": Path("weights")}
    torch.save({"model": model, "optimizer": None, "train_args": {"lr0": 0.01}, **others}, path)
    return path


class Fixed(nn.Module):
    """Stands in for the network: candidates (b, 4 + 2, 3) as x, y, width, height and the scores of two classes."""

    def __init__(self, *candidates: list[list[float]]) -> None:
        super().__init__()
        self.candidates = torch.tensor(candidates).transpose(1, 2)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        assert image.shape[-2:] == (64, 64)
        return (self.candidates,)


@pytest.fixture
def detector() -> YOLOv8:
    detector = YOLOv8("n", image_size=64)
    detector.model = Fixed(
        [[10, 20, 8, 4, 0.1, 0.3], [32, 32, 16, 8, 0.9, 0.0], [1, 1, 1, 1, 0.2, 0.2]],
        [[10, 20, 8, 4, 0.1, 0.2], [32, 32, 90, 8, 0.0, 0.24], [1, 1, 1, 1, 0.2, 0.2]],
    )
    return detector


def test_the_most_confident_box_in_pixels_of_the_image(detector: YOLOv8) -> None:
    boxes, found = detector(torch.rand(2, 3, 128, 256))
    assert boxes[0].tolist() == [96, 56, 160, 72]
    assert boxes[1].tolist() == [0, 56, 256, 72]  # cut to the image
    assert found.tolist() == [True, False]


def test_import_of_ultralytics_changes_no_other_package(published: Path) -> None:
    """Imported, ultralytics replaces PIL.Image.open by one that installs packages, and torch.save."""
    assert "ultralytics" in sys.modules
    assert Image.open.__module__ == "PIL.Image"
    assert torch.save.__module__ == "torch.serialization"


def test_without_a_find_the_box_is_the_whole_image(detector: YOLOv8) -> None:
    sam2 = SAM2("micro", image_size=64).eval()
    images = torch.randn(2, 3, 64, 64)
    output = DetectedBox(sam2, detector=detector).eval()(images)
    assert output.remarks == ["", NOTHING_FOUND]
    expected, _ = sam2.segment(images[:1], Prompts(boxes=torch.tensor([[24.0, 28.0, 40.0, 36.0]])))
    torch.testing.assert_close(output.logits[:1], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(output.logits[1:], WholeImageBox(sam2)(images[1:]).logits, atol=1e-4, rtol=0)


def test_a_published_file_is_loaded(published: Path) -> None:
    detector = YOLOv8("n", checkpoint=published, image_size=64)
    state = torch.load(published, weights_only=False)["model"].state_dict()
    assert all(torch.equal(tensor, state[key].float()) for key, tensor in detector.model.state_dict().items())
    assert detector.base_sha256 is not None
    assert not any(parameter.requires_grad for parameter in detector.parameters())
    boxes, found = detector(torch.rand(1, 3, 64, 64))
    assert boxes.isfinite().all()
    assert found.shape == (1,)


class Bomb:
    """Object that calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def bombs(canary: Path) -> list[Bomb]:
    """Two plain calls, and one through YOLOv8's own class, which evaluates the name of an activation."""
    from ultralytics.nn.tasks import DetectionModel

    call = f"__import__('os').system('touch {canary}')"
    config = {"activation": call, "nc": 1, "backbone": [[-1, 1, "Conv", [8, 3, 2]]], "head": []}
    return [Bomb(os.system, f"touch {canary}"), Bomb(eval, call), Bomb(DetectionModel, config, 3)]


@pytest.mark.parametrize("number", range(3))
def test_code_in_a_file_does_not_run(tmp_path: Path, number: int) -> None:
    canary, path = tmp_path / "canary", tmp_path / "yolov8n.pt"
    bomb = bombs(canary)[number]
    torch.save({"model": bomb}, path)
    with pytest.raises(ValueError, match="not a YOLOv8 checkpoint"):
        YOLOv8("n", checkpoint=path)
    path.write_bytes(pickle.dumps(bomb))
    with pytest.raises(ValueError, match="damaged or not a YOLOv8 checkpoint"):
        YOLOv8("n", checkpoint=path)
    assert not canary.exists()
    with suppress(Exception):
        pickle.loads(pickle.dumps(bomb))  # it would run where pickles are trusted
    assert canary.exists()


def test_boxes_are_found_in_single_precision_under_autocast(published: Path) -> None:
    detector = YOLOv8("n", checkpoint=published, image_size=64)
    image = torch.rand(1, 3, 64, 64)
    plain, _ = detector(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(detector(image)[0], plain)


def test_base_sha256_joins_both_files(published: Path, tmp_path: Path) -> None:
    sam2 = SAM2("micro", image_size=64)
    assert DetectedBox(sam2, detector=YOLOv8("n", checkpoint=published)).base_sha256 is None
    sam2.base_sha256 = "abc"
    assert DetectedBox(sam2, detector=YOLOv8("n")).base_sha256 is None
    detector = YOLOv8("n", checkpoint=published)
    assert DetectedBox(sam2, detector=detector).base_sha256 == f"abc+{detector.base_sha256}"


def test_wrong_files_and_options(published: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no YOLOv8 weights at .*\n.*curl .*/yolov8n\.pt"):
        YOLOv8("n", checkpoint=tmp_path / "none.pt")
    with pytest.raises(ValueError, match=r"does not fit YOLOv8s .*\n.*of another shape"):
        YOLOv8("s", checkpoint=published)
    other = tmp_path / "other.pt"
    torch.save({"model": {"a": torch.zeros(1)}}, other)
    with pytest.raises(ValueError, match=r'must hold a module under "model"'):
        YOLOv8("n", checkpoint=other)
    other.write_bytes(b"hello world")
    with pytest.raises(ValueError, match=r"other\.pt is damaged or not a YOLOv8 checkpoint: \S+"):
        YOLOv8("n", checkpoint=other)
    with pytest.raises(ValueError, match=r"size must be one of n, s, m, l, x, not 'huge'"):
        YOLOv8("huge")
    with pytest.raises(ValueError, match=r"image_size must be a positive multiple of 32, not 100"):
        YOLOv8("n", image_size=100)
