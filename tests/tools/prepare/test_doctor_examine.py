"""Files examined in worker processes: no file stops the examination of the others."""

import os
import time
from pathlib import Path

import pytest
from support.doctor_files import write_set

from ipsam.tools.prepare.doctor import examine as examination
from ipsam.tools.prepare.doctor.examine import CHUNK, File, FileFacts, examine, examine_all

KILLS, STALLS = "kills", "stalls"


def fake_examine(file: File) -> FileFacts:
    """Crash or stall as a decoder might, by the file's name."""
    if file.path.stem == KILLS:
        os._exit(9)
    if file.path.stem == STALLS:
        time.sleep(60)
    return FileFacts(file, format=str(os.getpid()))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "examine", fake_examine)
    monkeypatch.setattr(examination, "SECONDS", 1.0)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_facts_do_not_depend_on_the_number_of_workers(tmp_path: Path, num_workers: int) -> None:
    write_set(tmp_path, "own", seed=0)
    (tmp_path / "own/gt/c.png").write_bytes(b"")
    files = [File(path, "image", path.stem) for path in sorted((tmp_path / "own/img").iterdir())]
    files += [File(path, "mask", path.stem) for path in sorted((tmp_path / "own/gt").iterdir())]
    facts = examine_all(files, num_workers=num_workers)
    assert facts == {file: examine(file) for file in files}
    assert facts[files[8]].fault == "unreadable"
    assert not examine_all([], num_workers=num_workers)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("num_workers", [1, 2])
def test_files_that_kill_or_stall_a_worker_are_reported_and_all_others_examined(num_workers: int) -> None:
    names = [f"{number}.png" for number in range(2 * CHUNK + 3)]
    names[0] = names[-1] = f"{KILLS}.png"
    names[CHUNK - 1] = f"{STALLS}.png"
    files = [File(Path(str(number), name), "image", name) for number, name in enumerate(names)]
    begin = time.monotonic()
    facts = examine_all(files, num_workers=num_workers)
    assert time.monotonic() - begin < 20
    assert facts.keys() == set(files)
    assert [one.reason for one in facts.values() if one.fault is not None] == [
        f"0/{KILLS}.png: its process was killed (exit status 9); fetch the file again or leave it out",
        f"{CHUNK - 1}/{STALLS}.png: not done after 1 seconds; fetch the file again or leave it out",
        f"{2 * CHUNK + 2}/{KILLS}.png: its process was killed (exit status 9); fetch the file again or leave it out",
    ]
    readers = {one.format for one in facts.values() if one.fault is None}
    assert str(os.getpid()) not in readers
    assert len(readers) >= num_workers


def test_decoders_are_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path, "own", seed=0)
    path = tmp_path / "own/gt/a.png"
    path.write_bytes(path.read_bytes()[:-30])
    (facts,) = examine_all([File(path, "mask", path.stem)], num_workers=1).values()
    assert facts.fault == "unreadable"
    assert "PNG" not in capfd.readouterr().err
