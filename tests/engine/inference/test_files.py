"""Predicting files keeps their folders, skips what is done and lists what is broken."""

import os
import re
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from ipsam.engine.inference.files import FileJob, _save, find_jobs, predict_files
from ipsam.engine.inference.prediction import Prediction
from ipsam.engine.inference.predictor import Predictor


def save(path: Path, height: int = 30, width: int = 40, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Images in folders, two with the same stem, a text file and a hidden folder."""
    root = tmp_path / "in"
    for number, name in enumerate(("a.png", "deep/er/b.jpg", "deep/a.jpg", "twice.png", "twice.jpg", "v1.2.png")):
        save(root / name, 30 + number, 40, number)
    (root / "notes.txt").write_text("no picture")
    save(root / ".hidden" / "c.png")
    return root


def written(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_folders_are_kept(predictor: Predictor, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = predict_files(predictor, find_jobs(str(tree), out, ["map"]), batch_size=4)
    assert (outcome.written, outcome.skipped, outcome.failed) == (6, 0, {})
    assert written(out) == ["a.png", "deep/a.png", "deep/er/b.png", "twice.jpg.png", "twice.png.png", "v1.2.png"]
    for source, target in (("deep/er/b.jpg", "deep/er/b.png"), ("twice.jpg", "twice.jpg.png")):
        result = predictor.predict(tree / source)
        saved = cv2.imread(str(out / target), cv2.IMREAD_UNCHANGED)
        assert saved.shape == result.prob.shape
        assert np.abs(saved.astype(int) - result.map).max() <= 1  # batches of different sizes differ by rounding


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_broken_files_are_listed_and_shift_no_map(predictor: Predictor, tmp_path: Path, batch_size: int) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for number in range(9):
        save(root / f"{number}.png", 20 + number, 40, number)
    for broken, content in ((0, b"nothing"), (3, b""), (4, b"\x89PNG\r\n"), (8, b"nothing")):
        (root / f"{broken}.png").write_bytes(content)
    outcome = predict_files(predictor, find_jobs(str(root), out, ["map"]), batch_size=batch_size)
    assert outcome.written == 5
    assert sorted(outcome.failed) == [root / f"{broken}.png" for broken in (0, 3, 4, 8)]
    assert all(str(path) in reason for path, reason in outcome.failed.items())
    assert written(out) == ["1.png", "2.png", "5.png", "6.png", "7.png"]
    for name in written(out):
        saved = cv2.imread(str(out / name), cv2.IMREAD_UNCHANGED)
        assert np.abs(saved.astype(int) - predictor.predict(root / name).map).max() <= 1


def test_several_kinds_get_separate_folders(predictor: Predictor, tree: Path, tmp_path: Path) -> None:
    kinds = ["map", "mask", "overlay", "cutout"]
    predict_files(predictor, find_jobs(str(tree / "deep"), tmp_path / "out", kinds))
    assert written(tmp_path / "out") == sorted(f"{kind}/{name}" for kind in kinds for name in ("a.png", "er/b.png"))
    with Image.open(tmp_path / "out/cutout/a.png") as cutout:
        assert (cutout.mode, cutout.size) == ("RGBA", (40, 32))


def test_input_may_be_a_file_or_a_glob(tree: Path, tmp_path: Path) -> None:
    (only,) = find_jobs(str(tree / "deep/a.jpg"), tmp_path, ["map"])
    assert only.targets == {"map": tmp_path / "a.png"}
    found = find_jobs(str(tree / "**/*.jpg"), tmp_path, ["map"])
    assert [job.targets["map"].relative_to(tmp_path).as_posix() for job in found] == [
        *("deep/a.png", "deep/er/b.png", "twice.png")
    ]


def test_finished_files_are_skipped(predictor: Predictor, tree: Path, tmp_path: Path) -> None:
    jobs = find_jobs(str(tree), tmp_path / "out", ["map"])
    predict_files(predictor, jobs[:2])
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.png")}
    outcome = predict_files(predictor, jobs)
    assert (outcome.written, outcome.skipped) == (4, 2)
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    outcome = predict_files(predictor, jobs, overwrite=True)
    assert (outcome.written, outcome.skipped) == (6, 0)
    assert any(path.stat().st_mtime_ns != time for path, time in times.items())


def test_unwritable_output_is_named(predictor: Predictor, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").write_text("a file instead of a folder")
    outcome = predict_files(predictor, find_jobs(str(tree), tmp_path / "out", ["map"]))
    assert outcome.written == 4
    assert set(outcome.failed) == {tree / "deep/a.jpg", tree / "deep/er/b.jpg"}


def save_often(job: FileJob) -> None:
    result = Prediction(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32))
    for _ in range(500):
        _save(job, result)


def test_two_processes_may_predict_into_one_folder(tmp_path: Path) -> None:
    job = FileJob(tmp_path / "a.jpg", {"map": tmp_path / "a.png"})
    processes = [get_context("fork").Process(target=save_often, args=(job,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert written(tmp_path) == ["a.png"]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Five frames of 48 x 64."""
    path = tmp_path / "films" / "walk.avi"
    path.parent.mkdir()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    assert writer.isOpened()
    for number in range(5):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(("batch_size", "batches"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1])])
def test_a_video_is_predicted_frame_by_frame(
    predictor: Predictor, film: Path, tmp_path: Path, monkeypatch: Any, batch_size: int, batches: list[int]
) -> None:
    sizes, begin = [], predictor._start
    monkeypatch.setattr(predictor, "_start", lambda images: sizes.append(len(images)) or begin(images))
    jobs = find_jobs(str(film.parent), tmp_path / "out", ["overlay", "map"])
    outcome = predict_files(predictor, jobs, batch_size=batch_size)
    assert (outcome.written, outcome.failed) == (1, {})
    assert sizes == batches
    assert written(tmp_path / "out") == ["map/walk.mp4", "overlay/walk.mp4"]
    for kind in ("overlay", "map"):
        capture = cv2.VideoCapture(str(tmp_path / "out" / kind / "walk.mp4"))
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 5
        assert capture.get(cv2.CAP_PROP_FPS) == 10
        _, frame = capture.read()
        assert frame.shape == (48, 64, 3)
        capture.release()
    assert predict_files(predictor, jobs).skipped == 1


def test_interrupted_video_leaves_no_file(
    predictor: Predictor, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, begun = predictor._start, []

    def fails_at_the_fourth(images: Any) -> Any:
        begun.append(sorted(path.name for path in (tmp_path / "out").rglob("*.mp4")))
        if len(begun) == 4:
            raise MemoryError
        return begin(images)

    monkeypatch.setattr(predictor, "_start", fails_at_the_fourth)
    with pytest.raises(MemoryError):
        predict_files(predictor, find_jobs(str(film), tmp_path / "out", ["map"]))
    assert len(begun[3]) == 1
    assert re.fullmatch(rf"\.{os.getpid()}-.*\.part\.mp4", begun[3][0])
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


def test_broken_videos_and_cutouts_of_videos_are_named(predictor: Predictor, film: Path, tmp_path: Path) -> None:
    (film.parent / "broken.mp4").write_bytes(b"no video")
    outcome = predict_files(predictor, find_jobs(str(film.parent), tmp_path / "out", ["mask"]))
    assert outcome.written == 1
    assert "broken.mp4: not a video that OpenCV can read" in outcome.failed[film.parent / "broken.mp4"]
    outcome = predict_files(predictor, find_jobs(str(film), tmp_path / "cut", ["cutout"]))
    assert "a cutout has an alpha channel, which a video can't hold" in outcome.failed[film]
    assert written(tmp_path / "cut") == []


@pytest.mark.parametrize(
    ("source", "kinds", "message"),
    [
        ("nowhere", ["map"], "input=nowhere: no such file or folder, and no file matches it as a glob"),
        ("in/notes.txt", ["map"], r"input=in/notes\.txt: no picture or video among 1 files; known are \.jpg"),
        ("in", ["logits"], "save takes some of map, mask, overlay, cutout, not logits"),
        ("in", [], "save takes some of map, mask, overlay, cutout, not nothing"),
    ],
)
def test_wrong_requests_are_named(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, kinds: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_jobs(source, tmp_path / "out", kinds)
