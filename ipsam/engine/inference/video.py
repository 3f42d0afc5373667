"""Predictions for videos, frame by frame."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import repeat, tee
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ipsam.engine.inference.base import BasePredictor
from ipsam.engine.inference.prediction import PICTURES, Prediction
from ipsam.engine.inference.video_reader import Frame, VideoReader, open_video
from ipsam.engine.inference.video_writer import VideoWriter, video_writer
from ipsam.utils.async_copy import one_ahead
from ipsam.utils.console import visible
from ipsam.utils.files import replacing


def predict_video(predictor: BasePredictor, source: Path, targets: Mapping[str, Path], *, batch_size: int = 1) -> None:
    """Write videos of the predictions, with the source's size, times and sound; leave nothing on an error.

    Frames are read ahead, and written while the next ones are predicted.

    Args:
        source: a video in one of the usual containers, see ``video_reader``.
        targets: path of each kind of picture, as .mp4.
        batch_size: frames in one forward pass.

    Raises:
        ValueError: the video is damaged, cut off or none; or no video can hold a kind (the others are written).
        OSError: a video cannot be written.
    """
    with ExitStack() as stack:
        opaque = predictor.options.background is not None
        possible = {kind: path for kind, path in targets.items() if kind in PICTURES and (kind != "cutout" or opaque)}
        if possible:
            reader = stack.enter_context(open_video(source))
            parts = {kind: stack.enter_context(replacing(path)) for kind, path in possible.items()}
            writers = {kind: stack.enter_context(video_writer(part, reader)) for kind, part in parts.items()}
            _predict(predictor, reader, writers, batch_size)
    if unknown := [kind for kind in targets if kind not in PICTURES]:
        raise ValueError(f"{source}: save={unknown[0]} is for pictures; a video's masks are saved by save=mask")
    if "cutout" in targets and not opaque:
        raise ValueError(
            f"{source}: a cutout has an alpha channel, which a video can't hold; name a background, or save an overlay "
            "or mask"
        )


def _predict(
    predictor: BasePredictor, reader: VideoReader, writers: Mapping[str, VideoWriter], batch_size: int
) -> None:
    drawn: dict[str, Any] = {"crop": None}  # every frame has the same size, and the first one's colour

    def write(prediction: Prediction, frame: Frame) -> None:
        if "colour" not in drawn and "overlay" in writers:
            drawn["colour"] = "#{:02x}{:02x}{:02x}".format(*prediction.colour)
        prediction = prediction.drawn_with(**drawn)
        for kind, writer in writers.items():
            writer.write(np.asarray(prediction.picture(kind).convert("RGB")), frame.start, frame.duration)
        write_sound()

    def write_sound() -> None:
        for index, part in reader.take_sound():
            for writer in writers.values():
                writer.write_sound(index, part)

    name, total = visible(reader.path.name), reader.num_frames or None
    progress = tqdm(total=total, unit="frame", desc=name, leave=False, disable=None)
    with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing, progress:
        decoded = reader.frames()
        read = one_ahead(reading.submit(next, decoded, None).result for _ in repeat(None))
        frames, again = tee(iter(read.__next__, None))  # None follows the last
        written: Future[None] | None = None
        predictions = predictor.stream_decoded((frame.image for frame in frames), batch_size=batch_size)
        for prediction, frame in zip(predictions, again, strict=True):
            if written is not None:
                written.result()
            written = writing.submit(write, prediction, frame)
            progress.update()
        if written is not None:
            written.result()
    write_sound()
