"""Small videos, made by PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pytest

RATE = 48_000  # of sound
MILLISECONDS = Fraction(1, 1000)


class Film(NamedTuple):
    """Content of a video file."""

    codec: str
    size: tuple[int, int]  # height, width
    pix_fmt: str
    times: list[float]  # seconds
    end: float  # of the last frame
    sound: list[tuple[str, float]]  # codec and seconds of each track


def write_film(
    path: Path,
    codec: str = "mpeg4",
    *,
    size: tuple[int, int] = (48, 64),
    num: int = 12,
    times: Sequence[int] = (),
    sound: str = "",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a film of moving noise at 10 frames a second, or at ``times`` in milliseconds."""
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (*size, 3), np.uint8)
    container: Any
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=10)
        video.height, video.width, video.pix_fmt = *size, pix_fmt
        if rotation:
            if not hasattr(video, "set_display_rotation"):
                pytest.skip("this version of PyAV cannot write a rotation")
            video.set_display_rotation(rotation)
        if times:
            video.time_base = video.codec_context.time_base = MILLISECONDS
        audio = container.add_stream(sound, rate=RATE) if sound else None
        for number, time in enumerate(times or range(0, 100 * num, 100)):
            frame = av.VideoFrame.from_ndarray(np.roll(scene, 3 * number, 1), "rgb24")
            if times:
                frame.pts, frame.time_base = time, MILLISECONDS
            container.mux(video.encode(frame))
            if audio is not None:
                container.mux(audio.encode(_tone(number)))
        for stream in filter(None, (video, audio)):
            container.mux(stream.encode())
    return path


def _tone(number: int) -> av.AudioFrame:
    """A tenth of a second."""
    samples = np.sin(np.arange(RATE // 10) / 20)[None].astype(np.float32)
    frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, number * RATE // 10, Fraction(1, RATE)
    return frame


def read_film(path: Path) -> Film:
    """Read a video; times are relative to the first frame."""
    container: Any
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        frames = [(frame.pts * video.time_base, frame.duration * video.time_base) for frame in container.decode(video)]
        first = frames[0][0]
        tracks = [(one.codec_context.codec.canonical_name, one) for one in container.streams.audio]
        return Film(
            video.codec_context.codec.canonical_name,
            (video.height, video.width),
            video.pix_fmt,
            [float(start - first) for start, _ in frames],
            float(sum(frames[-1]) - first),
            [(name, float((one.duration or 0) * one.time_base)) for name, one in tracks],
        )
