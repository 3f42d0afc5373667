"""Write videos with PyAV: H.264 in MP4, at the times of the frames and with their sound."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ipsam.engine.inference.video_reader import VideoReader

X264 = {"crf": "18", "preset": "fast", "bf": "0"}  # hard to tell from the original; B-frames would confuse the times
BT709, LIMITED_RANGE = 1, 1  # FFmpeg's numbers of the colours that players expect
SOUND_RATE = 48_000  # of sound that is encoded


class VideoWriter:
    """A video being written, of the size of its first frame.

    Frames of an odd width or height are stored with colours at full resolution (4:4:4), as 4:2:0 needs even ones.
    """

    def __init__(self, container: Any, reader: VideoReader) -> None:
        self.num_frames = 0
        self._container, self._reader = container, reader
        self._durations: dict[int, int] = {}
        self._video: Any = None
        self._sound: dict[int, Any] = {}

    def write(self, pixels: NDArray[np.uint8], start: int, duration: int) -> None:
        """Write a frame, RGB (height, width, 3); its times are in ticks of the reader.

        Raises:
            ValueError: it has another size than the first.
            OSError: it cannot be written.
        """
        height, width = pixels.shape[:2]
        if self._video is None:
            self._add_streams(height, width)
        if (height, width) != (self._video.height, self._video.width):
            raise ValueError(f"{self._reader.path}: frame {self.num_frames} is of another size than those before")
        frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
        frame = frame.reformat(format=self._video.pix_fmt, dst_colorspace="ITU709", dst_color_range="MPEG")
        frame.pts, frame.time_base = start, self._reader.time_base
        self._durations[start] = duration
        self._write_packets(self._video.encode(frame))
        self.num_frames += 1

    def write_sound(self, index: int, part: Any) -> None:
        """Write sound, as the reader supplies it, once the first frame has been written.

        Raises:
            ValueError: the sound is damaged.
        """
        stream = self._sound[index]
        try:
            if isinstance(part, av.AudioFrame):
                self._container.mux(stream.encode(part))
            else:
                part.stream = stream
                self._container.mux(part)
        except ValueError as error:  # also PyAV's of wrong data
            raise self._reader.damaged(self.num_frames, f"its sound can't be copied: {error}") from error

    def finish(self) -> None:
        """Write what the encoders hold back, and the index of the file."""
        self._write_packets(self._video.encode())
        for index, source in self._reader.sound_streams.items():
            if not self._reader.is_copied(source):
                self._container.mux(self._sound[index].encode())
        self._container.close()

    def _add_streams(self, height: int, width: int) -> None:
        reader = self._reader
        video = self._video = self._container.add_stream("libx264", rate=reader.rate, options=X264)
        video.width, video.height, video.sample_aspect_ratio = width, height, reader.aspect
        video.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        video.time_base = video.codec_context.time_base = reader.time_base
        video.colorspace = video.color_primaries = video.color_trc = BT709
        video.color_range = LIMITED_RANGE
        for index, source in reader.sound_streams.items():
            if reader.is_copied(source):
                self._sound[index] = self._container.add_stream_from_template(source)
            else:
                layout = "mono" if source.codec_context.channels == 1 else "stereo"
                self._sound[index] = self._container.add_stream("aac", rate=SOUND_RATE, layout=layout)

    def _write_packets(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)


@contextmanager
def video_writer(path: Path, reader: VideoReader) -> Iterator[VideoWriter]:
    """Open an MP4 file for writing, and check at the end that it holds every frame.

    Raises:
        OSError: it cannot be written, or holds other frames.
        ValueError: the reader's times are damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        container: Any = av.open(file, "w", format="mp4")
        writer = VideoWriter(container, reader)
        try:
            yield writer
            writer.finish()
        except av.FFmpegError as error:
            if isinstance(error, ValueError):
                raise reader.damaged(writer.num_frames, "its times can't be copied") from error
            raise OSError(error.errno or errno.EIO, error.strerror, str(path)) from error
        finally:
            with suppress(Exception):  # closed, or broken as the first error says
                container.close()
        file.flush()
        os.fsync(file.fileno())
    with path.open("rb") as again, av.open(again) as written:
        num_frames = sum(packet.size > 0 for packet in written.demux(video=0))
    if num_frames != writer.num_frames:
        raise OSError(errno.EIO, f"{num_frames} of {writer.num_frames} frames arrived in the file", str(path))
