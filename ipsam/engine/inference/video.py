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
RATE = 25.0  # frames per second where a file does not say


def predict_video(predictor: Predictor, source: Path, targets: Mapping[str, Path], *, batch_size: int = 1) -> None:
    """Write videos of the predictions, of the source's size and frame rate; leave nothing on an error.

    Frames are read ahead, and written while the next ones are predicted.

    Args:
        source: a video that OpenCV can read.
        targets: path of each kind of picture, as .mp4.
        batch_size: frames in one forward pass.

    Raises:
        ValueError: the video cannot be read or has no frame; or no video can hold a kind (the others are written).
        OSError: a video cannot be written.
    """
    with ExitStack() as stack:
        possible = {kind: path for kind, path in targets.items() if kind != "cutout"}
        parts = {kind: stack.enter_context(replacing(path)) for kind, path in possible.items()}
        if parts:
            _predict(predictor, source, parts, batch_size)
    if "cutout" in targets:
        raise ValueError(f"{source}: a cutout has an alpha channel, which a video can't hold; save an overlay or mask")


def _predict(predictor: Predictor, source: Path, targets: Mapping[str, Path], batch_size: int) -> None:
    capture = cv2.VideoCapture(str(source))
    rate = capture.get(cv2.CAP_PROP_FPS)
    writers: dict[str, cv2.VideoWriter] = {}

    def write(prediction: Prediction) -> None:
        for kind, path in targets.items():
            if kind not in writers:
                writers[kind] = _writer(path, rate if 0 < rate < 1000 else RATE, prediction.prob.shape)
            rgb = np.asarray(prediction.picture(kind).convert("RGB"))
            writers[kind].write(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))

    try:
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            writing: Future[None] | None = None
            for prediction in predictor.stream_decoded(_frames(capture, reader), batch_size=batch_size):
                if writing is not None:
                    writing.result()
                writing = writer.submit(write, prediction)
            if writing is not None:
                writing.result()
    finally:
        capture.release()
        for each in writers.values():
            each.release()
    if not writers:
        raise ValueError(f"{source}: not a video that OpenCV can read")


def _frames(capture: cv2.VideoCapture, reader: ThreadPoolExecutor) -> Iterator[NDArray[np.uint8]]:
    """Yield all frames; read one ahead."""
    reading = reader.submit(capture.read)
    while True:
        success, frame = reading.result()
        if not success:
            return
        reading = reader.submit(capture.read)
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def _writer(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
    if not writer.isOpened():
        raise OSError(f"{path}: OpenCV can't write this video")
    return writer
