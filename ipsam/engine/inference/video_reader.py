"""Read video files with PyAV: any usual container, exact times, bounded sizes, and damage as an error."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from ipsam.data.decoding.limits import MAX_PIXELS, check_size
from ipsam.utils.files import open_regular

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,ogg"  # others are playlists and pictures
COPIED_SOUND = ("aac", "ac3", "alac", "eac3", "flac", "mp3", "opus")  # that players find in an MP4; others are encoded
PACKET_IS_FRAME = ("h264", "hevc")  # in MP4 and Matroska
MAX_FRAMES = 1_000_000  # nine hours at 30 frames a second
HEAD = 4096  # bytes read to find out how many there should be
KEEP = "keep what can be read by `ffmpeg -i IN OUT`"
SHORT = Fraction(1, 10)  # seconds by which the frames may end before the time in the header


class Frame(NamedTuple):
    """Upright RGB (height, width, 3), its start and its duration in ticks of the reader's ``time_base``."""

    image: NDArray[np.uint8]
    start: int
    duration: int


class VideoReader:
    """An open video.

    Attributes:
        time_base: seconds of a tick.
        rate: frames per second, on average.
        aspect: width of a pixel by its height.
        num_frames: as the header says; 0 if it does not.
        sound_streams: by number.
    """

    def __init__(self, path: Path, container: Any) -> None:
        self.path, self._container = path, container
        self._video = container.streams.best("video")
        if self._video is None or self._video.codec_context is None:
            raise ValueError(f"{path}: a file without a video that can be decoded; fetch it again or leave it out")
        check_size(self._video.height, self._video.width, path)
        self._video.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # a frame may differ from the header
        self._video.thread_type = "AUTO"
        self.time_base = Fraction(self._video.time_base)
        self.rate = Fraction(self._video.average_rate or 25)
        self.aspect = Fraction(self._video.sample_aspect_ratio or 1)
        self.num_frames = int(self._video.frames)
        self.sound_streams = {one.index: one for one in container.streams.audio if one.codec_context is not None}
        self._sound: deque[tuple[Any, int]] = deque()  # packets, and the number of frames before each
        self._begin = Fraction(max(container.start_time or 0, 0), av.time_base)  # seconds
        self._last_times: dict[int, int] = {}  # of each sound stream

    def is_copied(self, sound_stream: Any) -> bool:
        """Return whether the writer copies the sound; otherwise it encodes it."""
        return sound_stream.codec_context.codec.canonical_name in COPIED_SOUND

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, whose times begin at 0 and increase.

        A cut is noticed where the file says how long it is; an MPEG stream does not.

        Raises:
            ValueError: the video is damaged, cut off or too long, or its frames are too large.
        """
        number, following, first, last = 0, 0, None, Fraction(0)
        packets: list[int] = []
        previous: int | None = None
        for packet in self._packets():
            if packet.is_corrupt:
                raise self.damaged(number, "a part is broken or missing")
            if packet.pts is not None:
                last = max(last, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
            if packet.stream.index in self.sound_streams:
                self._sound.append((packet, number))  # from here on it is the writer's
                continue
            if packet.stream.index != self._video.index:
                continue
            if packet.pts is not None and not packet.is_discard:
                packets.append(packet.pts)
            for frame in self._decoded(packet, number):
                if number == MAX_FRAMES:
                    raise ValueError(f"{self.path}: more than {MAX_FRAMES:,} frames; cut it into several videos")
                duration = frame.duration or round(1 / self.rate / self.time_base) or 1
                start = following if frame.pts is None else frame.pts - round(self._begin / self.time_base)
                first = frame.pts if first is None else first
                if previous is not None:
                    start = max(start, previous + 1)
                yield Frame(self._upright(frame), start, duration)
                number, following, previous = number + 1, start + duration, start
        if not number:
            raise ValueError(f"{self.path}: a video without frames that can be read; fetch it again or leave it out")
        self._check_whole(number, last, sum(pts >= (first or 0) for pts in packets))

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux()
        except (av.FFmpegError, OSError) as error:
            raise ValueError(f"{self.path}: can't be read to its end ({error.strerror}); fetch it again") from error

    def _decoded(self, packet: Any, number: int) -> list[Any]:
        try:
            decoded: list[Any] = packet.decode()
        except av.FFmpegError as error:
            raise self.damaged(number, str(error.strerror)) from error
        if any(frame.is_corrupt for frame in decoded):
            raise self.damaged(number, "a frame is broken")
        return decoded

    def take_sound(self) -> Iterator[tuple[int, Any]]:
        """Take the sound that ``frames`` has read: streams' numbers, with packets to copy or frames to encode.

        Packets wait as they are stored, as hours of silence take few bytes until they are decoded.
        """
        for _ in range(len(self._sound)):
            yield from self._heard(*self._sound.popleft())

    def _heard(self, packet: Any, number: int) -> Iterator[tuple[int, Any]]:
        """Yield a sound packet, or what it decodes to if an MP4 cannot hold it, with times as for the frames."""
        index = packet.stream.index
        copied = self.is_copied(packet.stream)
        begin = round(self._begin / Fraction(packet.time_base))
        for part in [packet] if copied else self._decoded(packet, number):
            if part.dts is None and copied:  # the end
                continue
            if part.pts is not None:
                part.pts -= begin
            if copied:
                part.dts = max(part.dts - begin, self._last_times.get(index, part.dts - begin - 1) + 1)
                part.pts = part.dts if part.pts is None else max(part.pts, part.dts)
                self._last_times[index] = part.dts
            yield index, part

    def _upright(self, frame: Any) -> NDArray[np.uint8]:
        check_size(frame.height, frame.width, self.path)
        pixels = frame.to_ndarray(format="rgb24")
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))

    def _check_whole(self, number: int, last: Fraction, num_packets: int) -> None:
        """Compare the frames with what the header and the packets promise."""
        container = self._container
        promised = Fraction(container.duration or 0, av.time_base)  # of a header, which counts from 0
        if promised - last > max(SHORT, 1 / self.rate):
            raise ValueError(
                f"{self.path}: cut off: it ends after {float(last):.2f} of {float(promised):.2f} s; fetch it again, or "
                f"{KEEP}"
            )
        by_packet = self._video.codec_context.name in PACKET_IS_FRAME and container.format.name[:3] in ("mov", "mat")
        if by_packet and number < num_packets:
            raise self.damaged(number, f"{num_packets - number} of {num_packets} frames can't be read")

    def damaged(self, number: int, why: str) -> ValueError:
        """Build the error for a video that is broken near a frame."""
        return ValueError(f"{self.path}: damaged or cut off near frame {number} ({why}); fetch it again, or {KEEP}")


@contextmanager
def open_video(path: Path) -> Iterator[VideoReader]:
    """Open a video.

    Raises:
        ValueError: it is no video, is in another container, or its frames are too large.
        OSError: the file cannot be read.
    """
    with open_regular(path) as file:  # not by its name, in which FFmpeg would look for a protocol
        promised, size = _promised_size(file.read(HEAD)), os.fstat(file.fileno()).st_size
        if size < promised:
            raise ValueError(f"{path}: cut off: it has {size:,} of {promised:,} bytes; fetch it again, or {KEEP}")
        file.seek(0)
        try:
            container = av.open(file, options={"format_whitelist": CONTAINERS}, metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            raise ValueError(
                f"{path}: no whole video in a container of MP4, MOV, MKV, WebM, AVI, MPEG, WMV, FLV or OGG "
                f"({error.strerror}); fetch it again or leave it out"
            ) from error
        with container:
            yield VideoReader(path, container)


def _promised_size(head: bytes) -> int:
    """Return the size in bytes that the beginning of an AVI or Matroska file promises; 0 without."""
    if head.startswith(b"RIFF"):
        size = int.from_bytes(head[4:8], "little")
        return size + 8 if size < 0xFFFF_FFFF else 0
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        length, at = _ebml_number(head, 4)
        if length is not None and head[at + length :].startswith(b"\x18\x53\x80\x67"):
            length, at = _ebml_number(head, at + length + 4)
            return at + (length or 0)
    return 0


def _ebml_number(content: bytes, at: int) -> tuple[int | None, int]:
    """Read a number of variable length, whose first byte tells the length by its leading zeros; None: unknown."""
    num_bytes = 9 - content[at].bit_length() if content[at : at + 1] else 1
    mask = (1 << 7 * num_bytes) - 1
    value = int.from_bytes(content[at : at + num_bytes], "big") & mask
    return None if value == mask else value, at + num_bytes
