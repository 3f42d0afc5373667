"""Predicting files keeps their folders, skips what is done and lists what is broken."""

from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from support.saved import limited_files

from ipsam.engine.inference import files
from ipsam.engine.inference.files import Outcome, _save, predict_files
from ipsam.engine.inference.jobs import FileJob, find_jobs
from ipsam.engine.inference.prediction import Prediction
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.inference.record import claim
from ipsam.utils.files import write_bytes
from ipsam.utils.shards import Shard


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
    names = ["a.png", "deep/a.png", "deep/er/b.png", "twice.jpg.png", "twice.png.png", "v1.2.png"]
    assert written(out) == [f"map/{name}" for name in names]
    for source, target in (("deep/er/b.jpg", "deep/er/b.png"), ("twice.jpg", "twice.jpg.png")):
        result = predictor.predict(tree / source)
        saved = cv2.imread(str(out / "map" / target), cv2.IMREAD_UNCHANGED)
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
    assert written(out / "map") == ["1.png", "2.png", "5.png", "6.png", "7.png"]
    for name in written(out / "map"):
        saved = cv2.imread(str(out / "map" / name), cv2.IMREAD_UNCHANGED)
        assert np.abs(saved.astype(int) - predictor.predict(root / name).map).max() <= 1


def test_several_kinds_get_separate_folders(predictor: Predictor, tree: Path, tmp_path: Path) -> None:
    kinds = ["map", "mask", "overlay", "cutout"]
    predict_files(predictor, find_jobs(str(tree / "deep"), tmp_path / "out", kinds))
    assert written(tmp_path / "out") == sorted(f"{kind}/{name}" for kind in kinds for name in ("a.png", "er/b.png"))
    with Image.open(tmp_path / "out/cutout/a.png") as cutout:
        assert (cutout.mode, cutout.size) == ("RGBA", (40, 32))


def test_inputs_are_not_overwritten(tree: Path) -> None:
    save(tree / "map" / "a.png")
    with pytest.raises(ValueError, match=r"in/map/a\.png is an input and would be overwritten; name another folder"):
        find_jobs(str(tree), tree, ["map"])


def test_input_may_be_a_file_or_a_glob(tree: Path, tmp_path: Path) -> None:
    (only,) = find_jobs(str(tree / "deep/a.jpg"), tmp_path, ["map"])
    assert only.targets == {"map": tmp_path / "map" / "a.png"}
    found = find_jobs(str(tree / "**/*.jpg"), tmp_path, ["map"])
    names = ["deep/a.png", "deep/er/b.png", "twice.png"]
    assert [job.targets["map"].relative_to(tmp_path / "map").as_posix() for job in found] == names


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
    (tmp_path / "out" / "map").mkdir(parents=True)
    (tmp_path / "out" / "map" / "deep").write_text("a file instead of a folder")
    outcome = predict_files(predictor, find_jobs(str(tree), tmp_path / "out", ["map"]))
    assert outcome.written == 4
    assert set(outcome.failed) == {tree / "deep/a.jpg", tree / "deep/er/b.jpg"}


def test_linked_folders_are_searched_once(tree: Path, tmp_path: Path) -> None:
    """Also one outside, one that holds itself, and one that two links show."""
    save(tmp_path / "elsewhere" / "c.jpg")
    for link, target in (("link", tmp_path / "elsewhere"), ("again", tmp_path / "elsewhere"), ("deep/loop", tree)):
        (tree / link).symlink_to(target)
    for source in (str(tree), f"{tree}/**/*.*g"):
        found = [job.source.relative_to(tree).as_posix() for job in find_jobs(source, tmp_path / "out", ["map"])]
        assert len(found) == 7
        assert found[1] in ("again/c.jpg", "link/c.jpg")


def test_files_that_are_passed_over_are_counted(tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.ppm", "b.GIF", "c.gif", "README"):
        save(tree / "x.png").rename(tree / name)
    for name in ("d.jfif", "e.jpe", "f.webp"):
        (tree / name).touch()
    assert len(find_jobs(str(tree), tmp_path / "out", ["map"])) == 9
    assert f"{tree}: 5 not read (2 .gif, 1 .ppm, 1 .txt, 1 no ending)" in caplog.text


def test_large_pictures_are_held_one_by_one(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number in memory depends on their pixels."""
    for number in range(6):
        save(tmp_path / "in" / f"{number}.png", 100, 100 if number < 3 else 200)
    held, most, read, write = [0], [0], files.to_rgb, files._save

    def counted_read(path: Path) -> np.ndarray:
        image = read(path)
        held[0] += image.size // 3
        most.append(held[0])
        return image

    def counted_write(job: FileJob, prediction: Prediction) -> None:
        write(job, prediction)
        held[0] -= prediction.prob.size

    monkeypatch.setattr(files, "to_rgb", counted_read)
    monkeypatch.setattr(files, "_save", counted_write)
    for limit, expected in ((60_000, 60_000), (30_000, 30_000), (10_000, 20_000)):
        most.clear()
        monkeypatch.setattr(files, "MAX_HELD", limit)
        jobs = find_jobs(str(tmp_path / "in"), tmp_path / "out", ["map"])
        assert predict_files(predictor, jobs, overwrite=True, batch_size=2).written == 6
        assert max(most) <= expected


def test_full_disk_leaves_no_picture(predictor: Predictor, tree: Path, tmp_path: Path) -> None:
    jobs = find_jobs(str(tree / "a.png"), tmp_path / "out", ["overlay", "map"])
    for limit in (0, 100, 1000):
        with limited_files(limit):
            outcome = predict_files(predictor, jobs)
        assert outcome.failed == {tree / "a.png": f"{tmp_path}/out/overlay/a.png: can't be written (File too large)"}
        assert written(tmp_path / "out") == []
    assert predict_files(predictor, jobs).written == 1


@pytest.mark.parametrize("batch_size", [1, 3])
def test_three_shards_predict_the_bytes_of_the_whole(predictor: Predictor, tmp_path: Path, batch_size: int) -> None:
    for number in range(10):
        save(tmp_path / "in" / f"{number}.png", 30 + number, 40, number)
    whole, shared = (find_jobs(str(tmp_path / "in"), tmp_path / name, ["map", "mask"]) for name in ("one", "three"))
    predict_files(predictor, whole, batch_size=batch_size)
    shards = [Shard(index, 3).of(shared, batch_size) for index in (2, 0, 1)]
    outcomes = [predict_files(predictor, jobs, batch_size=batch_size) for jobs in shards]
    assert Outcome.united(outcomes) == Outcome(written=10)
    assert [one.written for one in outcomes] == [len(jobs) for jobs in shards]
    assert written(tmp_path / "three") == written(tmp_path / "one")
    for name in written(tmp_path / "one"):
        assert (tmp_path / "three" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def claim_and_write(folder: Path, number: int, start: Any) -> None:
    """What a shard does to a folder with another model's predictions."""
    maker = {"configuration": "", "precision": "fp32", "ckpt": "new", "weights": "new"}
    targets = [folder / "map" / f"{index}.png" for index in range(20)]
    start.wait()
    claim(folder, {"map": targets}, maker, overwrite=True)
    for path in Shard(number, 4).of(targets):
        write_bytes(path, b"new")


def test_shards_that_begin_together_remove_only_former_predictions(tmp_path: Path) -> None:
    former = {"configuration": "", "precision": "fp32", "ckpt": "old", "weights": "old"}
    for attempt in range(5):
        folder, context = tmp_path / str(attempt), get_context("fork")
        claim(folder, {"map": []}, former, overwrite=False)
        for index in range(20):
            write_bytes(folder / "map" / f"{index}.png", b"old")
        start = context.Barrier(4)
        processes = [context.Process(target=claim_and_write, args=(folder, number, start)) for number in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 4
        assert [(folder / "map" / f"{index}.png").read_bytes() for index in range(20)] == [b"new"] * 20
        assert sorted(path.name for path in folder.iterdir()) == ["map", "predictions.json"]


def save_often(job: FileJob) -> None:
    result = Prediction(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32))
    for _ in range(500):
        _save(job, result)


def test_two_processes_may_predict_into_one_folder(tmp_path: Path) -> None:
    job = FileJob(tmp_path / "a.jpg", tmp_path, "a.png", ("map",))
    processes = [get_context("fork").Process(target=save_often, args=(job,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert written(tmp_path) == ["map/a.png"]


@pytest.mark.parametrize(
    ("source", "kinds", "message"),
    [
        ("nowhere", ["map"], "input=nowhere: no such file or folder, and no file matches it as a glob"),
        ("in/notes.txt", ["map"], r"input=in/notes\.txt: no picture or video among 1 files; known are \.jpg"),
        ("in", ["logits"], "save takes some of map, mask, overlay, cutout, coco, coco_polygons, not logits"),
        ("in", [], "save takes some of map, mask, overlay, cutout, coco, coco_polygons, not nothing"),
        ("in", None, "save takes some of map, .*, not None"),
        ("in", [["map"]], r"save takes some of map, .*, not \['map'\]"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_wrong_requests_are_named(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, kinds: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_jobs(source, tmp_path / "out", kinds)
