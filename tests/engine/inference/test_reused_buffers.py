"""Results stay right when callers overwrite images, as camera loops do, or change results."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from support.films import write_film

from ipsam.data.user_images import to_rgb
from ipsam.engine.inference.files import predict_files
from ipsam.engine.inference.jobs import find_jobs
from ipsam.engine.inference.predictor import Predictor

SIZE = (48, 64)


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), SIZE[::-1]) for _ in range(4)]


def array(frame: np.ndarray, buffer: Any) -> Any:
    buffer = np.empty_like(frame) if buffer is None else buffer
    buffer[:] = frame
    return buffer


def tensor(values: np.ndarray, buffer: Any) -> Any:
    channels_first = torch.from_numpy(values).permute(2, 0, 1)
    return channels_first.clone() if buffer is None else buffer.copy_(channels_first)


def channels_last(frame: np.ndarray, buffer: Any) -> Any:
    """A tensor that shares its memory with an array."""
    return torch.from_numpy(array(frame, None if buffer is None else buffer.permute(1, 2, 0).numpy())).permute(2, 0, 1)


def pillow(frame: np.ndarray, buffer: Any) -> Any:
    buffer = Image.new("RGB", SIZE[::-1]) if buffer is None else buffer
    buffer.paste(Image.fromarray(frame))
    return buffer


# Each writes a frame into a buffer, or into a new one, and returns that.
BUFFERS: dict[str, Callable[[np.ndarray, Any], Any]] = {
    "array": array,
    "array with alpha": lambda frame, buffer: array(np.dstack([frame, frame[..., 0]]), buffer),
    "grey array": lambda frame, buffer: array(frame[..., 0], buffer),
    "tensor": tensor,
    "tensor, channels last": channels_last,
    "grey tensor": lambda frame, buffer: tensor(frame[..., :1], buffer),
    "tensor of floats": lambda frame, buffer: tensor(frame / np.float32(255), buffer),
    "Pillow image": pillow,
}


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("write", BUFFERS.values(), ids=BUFFERS)
def test_stream_accepts_reused_buffers(
    predictor: Predictor, frames: list[np.ndarray], write: Callable[..., Any], batch_size: int
) -> None:

    def camera() -> Iterator[Any]:
        buffer = None
        for frame in frames:
            buffer = write(frame, buffer)
            yield buffer

    expected = list(predictor.stream([write(frame, None) for frame in frames], batch_size=batch_size))
    for result, right in zip(predictor.stream(camera(), batch_size=batch_size), expected, strict=True):
        assert np.array_equal(result.image, right.image)
        assert np.array_equal(result.prob, right.prob)


@pytest.mark.parametrize("write", BUFFERS.values(), ids=BUFFERS)
def test_predict_keeps_the_image_when_its_buffer_is_overwritten(
    predictor: Predictor, frames: list[np.ndarray], write: Callable[..., Any]
) -> None:
    buffer = write(frames[0], None)
    result = predictor.predict(buffer)
    image, overlay = result.image.copy(), np.asarray(result.overlay())
    write(frames[1], buffer)
    assert np.array_equal(result.image, image)
    assert np.array_equal(np.asarray(result.overlay()), overlay)


def test_read_only_arrays_are_accepted(predictor: Predictor, frames: list[np.ndarray]) -> None:
    locked = frames[0].copy()
    locked.flags.writeable = False
    result = predictor.predict(locked)
    assert np.array_equal(result.prob, predictor.predict(frames[0]).prob)
    assert result.image.flags.writeable
    assert not np.shares_memory(to_rgb(locked), locked)


@pytest.mark.parametrize("size", [(16, 16), (64, 64), SIZE])
def test_results_share_no_memory(predictor: Predictor, size: tuple[int, int]) -> None:
    """Also at the size of the mask grid and of the network's input, where nothing is resized."""
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    results: list[Any] = []
    for result in predictor.stream([picture] * 3, batch_size=2):
        result.fg_logits.add_(1)  # belongs to the caller now
        results.append(result)
    parts = [(one.image, one.prob, one.map, *one.prompts, one.gate, one.fg_logits.numpy()) for one in results]
    everything = [picture, *(part for of_one in parts for part in of_one)]
    for index, one in enumerate(everything):
        assert not any(np.shares_memory(one, other) for other in everything[index + 1 :])
    before = results[0].prob.copy()
    list(predictor.stream([255 - picture] * 3, batch_size=2))
    assert np.array_equal(results[0].prob, before)


def test_files_and_videos_are_not_copied(
    predictor: Predictor, frames: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(image: Any) -> Any:
        raise AssertionError("copied again")

    monkeypatch.setattr("ipsam.engine.inference.base.to_rgb", refuse)
    Image.fromarray(frames[0]).save(tmp_path / "a.png")
    write_film(tmp_path / "b.mp4", num=3)
    outcome = predict_files(predictor, find_jobs(str(tmp_path), tmp_path / "out", ["map"]), batch_size=2)
    assert (outcome.written, outcome.failed) == (2, {})
