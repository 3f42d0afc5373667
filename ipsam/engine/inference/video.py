"""Predictions for videos, frame by frame."""

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.engine.inference.prediction import Prediction
from ipsam.engine.inference.predictor import Predictor
from ipsam.utils.files import replacing

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")


def predict_video(predictor: Predictor, source: Path, targets: Mapping[str, Path], *, batch_size: int = 1) -> None:
    """Write a video of the predictions, of the source's size and frame rate.

    Frames are read before they are needed, and written while the next ones are predicted. A target is there once it is
    whole; of one that an error breaks off nothing stays.

    Args:
        predictor: the model.
        source: a video that OpenCV can read.
        targets: where each kind of picture goes, as .mp4.
        batch_size: frames that go through the model together.

    Raises:
        ValueError: the video can't be read or holds no frame; or a kind can't be a video, after the others are written.
        OSError: a video can't be written.
    """
    possible = {kind: path for kind, path in targets.items() if kind != "cutout"}
    if possible:
        with ExitStack() as stack:
            unfinished = {kind: stack.enter_context(replacing(path)) for kind, path in possible.items()}
            _predict(predictor, source, unfinished, batch_size)
    if "cutout" in targets:
        raise ValueError(f"{source}: a cutout has an alpha channel, which a video can't hold; save an overlay or mask")


def _predict(predictor: Predictor, source: Path, targets: Mapping[str, Path], batch_size: int) -> None:
    capture = cv2.VideoCapture(str(source))
    writers: dict[str, cv2.VideoWriter] = {}
    try:
        rate = capture.get(cv2.CAP_PROP_FPS)
        rate = rate if 0 < rate < 1000 else 25.0  # some files don't tell

        def write(result: Prediction) -> None:
            for kind, path in targets.items():
                if kind not in writers:
                    writers[kind] = _writer(path, rate, result.prob.shape)
                writers[kind].write(cv2.cvtColor(_picture(result, kind), cv2.COLOR_RGB2BGR))

        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            writing: Future[None] | None = None
            for result in predictor.stream_decoded(_frames(capture, reader), batch_size=batch_size):
                if writing is not None:
                    writing.result()
                writing = writer.submit(write, result)
            if writing is not None:
                writing.result()
    finally:
        capture.release()
        for each in writers.values():
            each.release()
    if not writers:
        raise ValueError(f"{source}: no video that OpenCV can read")


def _frames(capture: cv2.VideoCapture, reader: ThreadPoolExecutor) -> Iterator[NDArray[np.uint8]]:
    """All frames; while one is looked at, the next is read."""
    reading = reader.submit(capture.read)
    while True:
        there, frame = reading.result()
        if not there:
            return
        reading = reader.submit(capture.read)
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _picture(result: Prediction, kind: str) -> NDArray[np.uint8]:
    if kind == "overlay":
        return np.asarray(result.overlay())
    grey = result.map if kind == "map" else result.mask.astype(np.uint8) * np.uint8(255)
    return np.repeat(grey[..., None], 3, axis=2)


def _writer(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
    if not writer.isOpened():
        raise OSError(f"{path}: OpenCV can't write this video")
    return writer
