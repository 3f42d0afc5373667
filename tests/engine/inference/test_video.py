"""Videos keep their size, times and sound; what is damaged, disguised or too large is refused and leaves no file."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from support.films import RATE, read_film, write_film
from support.saved import limited_files

from ipsam.data.decoding import limits
from ipsam.engine.inference import video_reader
from ipsam.engine.inference.files import predict_files
from ipsam.engine.inference.jobs import find_jobs
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.inference.video import predict_video
from ipsam.engine.inference.video_reader import open_video
from ipsam.engine.inference.video_writer import VideoWriter, video_writer


def failure(predictor: Predictor, film: Path) -> str:
    """Predict a video that fails, and return the reason."""
    out = film.parent / "out"
    outcome = predict_files(predictor, find_jobs(str(film), out, ["map"]))
    assert (outcome.written, list(outcome.failed)) == (0, [film])
    assert [path for path in out.rglob("*") if path.is_file()] == []
    assert outcome.failed[film].startswith(str(film)) or str(out) in outcome.failed[film]
    return outcome.failed[film]


@pytest.mark.parametrize(
    ("name", "options", "sound"),
    [
        ("plain.mp4", {"codec": "libx264", "sound": "aac"}, "aac"),
        ("begins_later.ts", {"codec": "libx264", "sound": "aac"}, "aac"),
        ("begins_later.mkv", {"codec": "ffv1", "pix_fmt": "bgr0", "times": (1000, 1100, 1200, 1300)}, ""),
        ("stream.flv", {"codec": "libx264", "sound": "aac"}, "aac"),
        ("web.webm", {"codec": "libvpx-vp9", "sound": "libopus"}, "opus"),
        ("camera.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p", "sound": "pcm_s16le"}, "aac"),
        ("odd.mov", {"codec": "png", "pix_fmt": "rgb24", "size": (49, 65)}, ""),
        ("uneven.mkv", {"codec": "ffv1", "pix_fmt": "bgr0", "times": (0, 40, 80, 1080, 2080, 3080)}, ""),
        ("uneven_odd.mkv", {"codec": "ffv1", "pix_fmt": "bgr0", "size": (33, 48), "times": (0, 700, 710, 3000)}, ""),
    ],
)
def test_size_times_and_sound_are_kept(
    predictor: Predictor, tmp_path: Path, name: str, options: dict[str, Any], sound: str
) -> None:
    film = read_film(write_film(tmp_path / name, **options))
    predict_video(predictor, tmp_path / name, {"mask": tmp_path / "mask.mp4", "overlay": tmp_path / "new" / "b.mp4"})
    for path in (tmp_path / "mask.mp4", tmp_path / "new" / "b.mp4"):
        made = read_film(path)
        is_odd = made.size[0] % 2 or made.size[1] % 2
        assert (made.codec, made.size, made.pix_fmt) == ("h264", film.size, "yuv444p" if is_odd else "yuv420p")
        np.testing.assert_allclose(made.times, film.times, atol=1e-9)
        assert made.end == pytest.approx(film.end, abs=1e-9)
        assert [codec for codec, _ in made.sound] == [sound] * bool(sound)
        assert all(seconds == pytest.approx(1.2, abs=0.05) for _, seconds in made.sound)


@pytest.mark.parametrize(("batch_size", "batches"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1])])
def test_frames_are_predicted_in_batches(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int, batches: list[int]
) -> None:
    sizes, begin = [], predictor._start
    monkeypatch.setattr(
        predictor, "_start", lambda images, options: sizes.append(len(images)) or begin(images, options)
    )
    jobs = find_jobs(str(write_film(tmp_path / "a.mp4", num=5)), tmp_path / "out", ["overlay", "map"])
    assert predict_files(predictor, jobs, batch_size=batch_size).written == 1
    assert sizes == batches
    assert predict_files(predictor, jobs).skipped == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [("cutout", "a cutout has an alpha channel, which a video can't hold"), ("coco", "save=coco is for pictures")],
)
def test_what_a_video_cannot_hold_is_refused(predictor: Predictor, tmp_path: Path, kind: str, message: str) -> None:
    film = write_film(tmp_path / "a.mp4")
    outcome = predict_files(predictor, find_jobs(str(film), tmp_path / "out", [kind]))
    assert message in outcome.failed[film]
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_sound_is_decoded_only_to_be_written(tmp_path: Path) -> None:
    """Until then it waits as it is stored: hours of silence behind the last frame take few bytes."""
    film = write_film(tmp_path / "a.avi", "mjpeg", pix_fmt="yuvj420p", sound="pcm_s16le")
    with video_reader.open_video(film) as reader:
        assert len(list(reader.frames())) == 12
        assert {type(packet) for packet, _ in reader._sound} == {av.Packet}
        assert sum(frame.samples for _, frame in reader.take_sound()) == 12 * RATE // 10
        assert list(reader.take_sound()) == []


def test_overlay_has_the_colours_of_the_source(predictor: Predictor, tmp_path: Path) -> None:
    """Upright, too: a telephone stores how the picture is to be turned."""
    film = write_film(tmp_path / "a.mp4", "libx264", rotation=90)
    predict_video(predictor, film, {"overlay": tmp_path / "b.mp4"})
    with av.open(str(film)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    with av.open(str(tmp_path / "b.mp4")) as container:
        shown = next(container.decode(video=0)).to_ndarray(format="rgb24")
    expected = np.asarray(predictor.predict(np.ascontiguousarray(np.rot90(stored))).overlay())
    assert shown.shape == (64, 48, 3)
    assert np.abs(shown.astype(int).mean((0, 1)) - expected.mean((0, 1))).max() < 3
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.9


def cut(content: bytes) -> bytes:
    return content[: len(content) * 6 // 10]


def hurt(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(len(content) // 20) + content[middle + len(content) // 20 :]


FAST = {"movflags": "faststart"}  # the index comes first, and survives a cut


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", {"codec": "mpeg4", "options": FAST}),
        ("b.mp4", {"codec": "libx264", "sound": "aac"}),
        ("c.mp4", {"codec": "libx264", "options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("d.mkv", {"codec": "libx264", "sound": "aac"}),
        ("e.webm", {"codec": "libvpx-vp9"}),
        ("f.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
        ("g.ts", {"codec": "libx264", "sound": "aac"}),
    ],
)
def test_damaged_videos_are_no_videos(predictor: Predictor, tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    film = write_film(tmp_path / name, num=40, **options)
    whole = film.read_bytes()
    for damage in (hurt,) if name == "g.ts" else (hurt, cut):  # a transport stream does not say how long it is
        film.write_bytes(damage(whole))
        reason = failure(predictor, film)
        assert any(word in reason for word in ("damaged or cut off near frame", "cut off: it ", "no whole video"))


def test_fuzzed_videos_end_in_clear_errors(tmp_path: Path) -> None:
    """Or are whole: most bytes of a picture are free."""
    rng = np.random.default_rng(0)
    for name, codec, sound in (("a.mp4", "libx264", "aac"), ("b.mkv", "mpeg4", "mp2"), ("c.avi", "mpeg4", "mp3")):
        film = write_film(tmp_path / name, codec, sound=sound)
        whole = np.frombuffer(film.read_bytes(), np.uint8)
        for number in range(40):
            content, span = whole.copy(), len(whole) if number % 2 else 2000  # the header, every other time
            content[rng.integers(0, span, 3 * number)] = rng.integers(0, 256, 3 * number)
            film.write_bytes(content.tobytes()[: None if number % 4 else rng.integers(1, len(whole))])
            reason, written = "", 0
            try:
                with open_video(film) as reader, video_writer(tmp_path / "out.mp4", reader) as writer:
                    for frame in reader.frames():
                        writer.write(frame.image, frame.start, frame.duration)
                        for part in reader.take_sound():
                            writer.write_sound(*part)
                written = len(read_film(tmp_path / "out.mp4").times)
            except ValueError as error:
                reason = str(error)
            assert written > 0 or reason.startswith(str(film))


def test_disguised_files_are_not_decoded(predictor: Predictor, tmp_path: Path) -> None:
    """Text may name a neighbour, and a small PNG or GIF may unpack to gigabytes."""
    write_film(tmp_path / "private.mp4")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nprivate.mp4\n#EXT-X-ENDLIST\n"
    for number, text in enumerate((playlist, "ffconcat version 1.0\nfile private.mp4\n", "hello", "")):
        (tmp_path / f"{number}.mp4").write_text(text)
        assert "no whole video in a container of MP4, MOV" in failure(predictor, tmp_path / f"{number}.mp4")
    for kind in ("PNG", "GIF", "TIFF", "WEBP"):
        Image.new("L", (640, 480)).save(tmp_path / f"{kind}.mp4", kind)
        assert "no whole video in a container of MP4, MOV" in failure(predictor, tmp_path / f"{kind}.mp4")


def test_limits(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write_film(tmp_path / "a.mkv", "mjpeg", pix_fmt="yuvj420p")
    grown: Any
    with av.open(str(tmp_path / "b.mkv"), "w") as grown:  # a larger frame than the header promises
        stream = grown.add_stream("mjpeg", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuvj420p"
        grown.start_encoding()
        for number, size in enumerate(((48, 64), (480, 640))):
            packet = av.Packet(cv2.imencode(".jpg", np.zeros((*size, 3), np.uint8))[1].tobytes())
            packet.pts = packet.dts = number
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            grown.mux(packet)
    assert "frame 1 is of another size than those before" in failure(predictor, tmp_path / "b.mkv")
    monkeypatch.setattr(video_reader, "MAX_PIXELS", 4000)
    assert "damaged or cut off near frame 1" in failure(predictor, tmp_path / "b.mkv")
    monkeypatch.setattr(video_reader, "MAX_FRAMES", 5)
    assert "more than 5 frames; cut it into several videos" in failure(predictor, film)
    monkeypatch.setattr(limits, "MAX_PIXELS", 3000)
    assert "48x64 pixels (height x width), above the limit" in failure(predictor, film)


def test_full_disk_leaves_no_video(predictor: Predictor, tmp_path: Path) -> None:
    film = write_film(tmp_path / "a.mkv", "libx264", sound="aac")
    predict_video(predictor, film, {"map": tmp_path / "whole.mp4"})
    size = (tmp_path / "whole.mp4").stat().st_size
    for limit in (100, size // 2, size - 1):
        with limited_files(limit):
            assert "File too large" in failure(predictor, film)


def test_lost_frames_are_noticed(predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = VideoWriter._write_packets
    monkeypatch.setattr(VideoWriter, "_write_packets", lambda self, packets: write(self, list(packets)[1:]))
    assert "frames arrived in the file" in failure(predictor, write_film(tmp_path / "a.mp4"))


def test_interrupted_video_leaves_no_file(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, begun = predictor._start, []

    def fails_at_the_fourth(images: Any, options: Any) -> Any:
        begun.append(sorted(path.name for path in (tmp_path / "out").rglob("*.mp4")))
        if len(begun) == 4:
            raise MemoryError
        return begin(images, options)

    monkeypatch.setattr(predictor, "_start", fails_at_the_fourth)
    with pytest.raises(MemoryError):
        predict_files(predictor, find_jobs(str(write_film(tmp_path / "a.mp4")), tmp_path / "out", ["map"]))
    assert [name[: len(str(os.getpid())) + 2] for name in begun[3]] == [f".{os.getpid()}-"]
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
