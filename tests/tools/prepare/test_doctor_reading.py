"""The data doctor's processes: no file brings down or holds up the reading of the others."""

import os
import time
from pathlib import Path

import pytest
from support.doctor_files import write_set

from ipsam.tools.prepare.doctor import reading
from ipsam.tools.prepare.doctor.examine import File, FileFacts, examine
from ipsam.tools.prepare.doctor.reading import TOGETHER, examine_all

KILLS, STALLS = "kills", "stalls"


def faked(file: File) -> FileFacts:
    """In place of ``examine``: what some file does to a decoder."""
    if file.path.stem == KILLS:
        os._exit(9)
    if file.path.stem == STALLS:
        time.sleep(60)
    return FileFacts(file, format=str(os.getpid()))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "examine", faked)
    monkeypatch.setattr(reading, "SECONDS", 1.0)


def files(num: int, **others: int) -> list[File]:
    """``num`` files, some of them named after what they do."""
    listed = [File(Path(f"{number}.png"), "image") for number in range(num)]
    for name, position in others.items():
        listed[position] = File(Path(f"{name}.png"), "image")
    return listed


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
def test_facts_are_the_same_however_many_read(tmp_path: Path, num_workers: int) -> None:
    write_set(tmp_path, "own", seed=0)
    (tmp_path / "own/gt/c.png").write_bytes(b"")
    listed = [File(path, "image") for path in sorted((tmp_path / "own/img").iterdir())]
    listed += [File(path, "mask") for path in sorted((tmp_path / "own/gt").iterdir())]
    facts = examine_all(listed, num_workers=num_workers)
    assert facts == {file: examine(file) for file in listed}
    assert facts[listed[8]].fault == "unreadable"


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("num", [1, 3 * TOGETHER + 5])
def test_all_files_are_read_by_all_processes(num: int) -> None:
    facts = examine_all(files(num), num_workers=2)
    assert facts.keys() == set(files(num))
    readers = {one.format for one in facts.values()}
    assert str(os.getpid()) not in readers
    assert len(readers) == min(num, 2)
    assert not examine_all([], num_workers=2)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("position", [0, 7, TOGETHER - 1, -1])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_file_that_kills_its_reader_is_reported_alone(position: int, num_workers: int) -> None:
    listed = files(2 * TOGETHER + 3, **{KILLS: position})
    facts = examine_all(listed, num_workers=num_workers)
    assert facts.keys() == set(listed)
    (killed,) = (one for one in facts.values() if one.fault is not None)
    assert killed.reason == ("kills.png: its process was killed (exit status 9); fetch the file again or leave it out")


@pytest.mark.usefixtures("fake")
def test_a_file_that_is_never_done_is_given_up() -> None:
    listed = files(TOGETHER + 3, **{STALLS: 2, KILLS: 5})
    begin = time.monotonic()
    facts = examine_all(listed, num_workers=2)
    assert time.monotonic() - begin < 20
    assert facts.keys() == set(listed)
    assert sorted(one.reason for one in facts.values() if one.fault is not None) == [
        "kills.png: its process was killed (exit status 9); fetch the file again or leave it out",
        "stalls.png: not done after 1 seconds; fetch the file again or leave it out",
    ]


@pytest.mark.usefixtures("fake")
def test_every_file_may_kill() -> None:
    listed = [File(Path(f"{number}/{KILLS}.png"), "mask") for number in range(5)]
    assert all(one.fault == "unreadable" for one in examine_all(listed, num_workers=2).values())


def test_decoders_are_not_heard(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_set(tmp_path, "own", seed=0)
    path = tmp_path / "own/gt/a.png"
    path.write_bytes(path.read_bytes()[:-30])
    (facts,) = examine_all([File(path, "mask")], num_workers=1).values()
    assert facts.fault == "unreadable"
    assert "PNG" not in capfd.readouterr().err
