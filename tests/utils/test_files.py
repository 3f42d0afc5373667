"""Files are complete or absent, also with several writers to one path."""

import csv
import errno
import io
import os
import socket
import subprocess
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import pytest
from support.saved import limited_files

from ipsam.data.files import read_list
from ipsam.data.images import image_size, read_image
from ipsam.utils import files
from ipsam.utils.files import (
    as_csv,
    check_regular,
    csv_parts,
    open_regular,
    read_csv,
    replacing,
    write_bytes,
    write_json,
    write_text,
)
from ipsam.utils.untrusted import bounded_text, check_archive
from ipsam.utils.weights import sha256_of


def write_often(path: Path, letter: str) -> None:
    for _ in range(300):
        write_text(path, letter * 5000)


def test_several_processes_may_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    processes = [get_context("fork").Process(target=write_often, args=(path, letter)) for letter in "ab"]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        if path.exists():
            assert path.read_text() in ("a" * 5000, "b" * 5000)
    assert [process.exitcode for process in processes] == [0, 0]
    assert os.listdir(tmp_path) == ["metrics.json"]


@pytest.mark.parametrize("name", ["a.png", "a" * 251 + ".png", "a." + "p" * 253, "\u00e4" * 125 + ".png"])
def test_longest_file_name_is_written(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as path:
        assert path.name.startswith(f".{os.getpid()}-")
        assert path.suffix == (".png" if name.endswith(".png") else ".part")
        path.touch()
    assert os.listdir(tmp_path) == [name]


def test_interruption_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("old")

    def interrupted() -> None:
        with replacing(tmp_path / "a.png") as path:
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_text() == "old"


@pytest.mark.parametrize("name", ["a.png", "nowhere/a.png"])
def test_errors_name_the_file_itself(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").mkdir()

    with pytest.raises(OSError, match=r"a\.png") as error, replacing(tmp_path / name) as part:
        part.touch()
    assert error.value.filename == str(tmp_path / name)
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    ("write", "content"),
    [(write_bytes, b"x" * 101), (write_text, "x" * 101), (write_json, ["x"] * 50)],
)
def test_full_disk_is_named_and_keeps_the_old_file(tmp_path: Path, write: Callable[..., None], content: object) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with limited_files(100), pytest.raises(OSError, match="File too large") as error:
        write(path, content)
    assert error.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_error_that_names_no_file_gets_its_path(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "a") as part:
            part.touch()
            raise OSError(errno.ENOSPC, "No space left on device")  # as of a library

    with pytest.raises(OSError, match="No space left") as error:
        write()
    assert error.value.filename == str(tmp_path / "a")
    assert not os.listdir(tmp_path)


TEXTS = ["=1+1", "+1", "-1", "@a", "\ta", "\ra", "\n=a", "'=a", "''-", "'a'", "a=b", "", 'a\u2028,"b"\nc', "\x1b[31m"]


def test_names_are_no_formulas_in_a_spreadsheet() -> None:
    """Numbers stay as they are, and our own reader returns the names."""
    content = as_csv([{"name": text, "change": -0.5} for text in TEXTS] + [{"name": "a", "left_out": "=b"}]).decode()
    raw = list(csv.DictReader(io.StringIO(content, newline="")))
    assert not [row for row in raw if row["name"][:1] in set("=+-@\t\r\n") - {""}]
    assert {row["change"] for row in raw[:-1]} == {"-0.5"}
    rows = list(read_csv(content))
    assert [row["name"] for row in rows] == [*TEXTS, "a"]
    assert (rows[-1]["change"], rows[-1]["left_out"]) == ("", "=b")


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        pass
    host, name = files._host(), "00000000.part.png"
    killed, alive = f".{dead.pid}-{host}-{name}", f".{os.getppid()}-{host}-{name}"
    elsewhere, long_ago = f".{dead.pid}-11111111-{name}", f".{dead.pid}-22222222-{name}"
    for file in (killed, alive, elsewhere, long_ago, ".mine.part.png"):
        (tmp_path / file).touch()
    os.utime(tmp_path / long_ago, (0, 0))
    write_text(tmp_path / "a.json", "{}")
    assert sorted(os.listdir(tmp_path)) == sorted([".mine.part.png", alive, elsewhere, "a.json"])


@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device"])
@pytest.mark.parametrize(
    "read", [open_regular, check_regular, bounded_text, check_archive, sha256_of, read_image, image_size, read_list]
)
def test_only_regular_files_are_read(tmp_path: Path, kind: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / "a.png"
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda name: os.symlink("/dev/zero", name)}[kind](path)
    with pytest.raises(ValueError, match=rf"a\.png: a {kind}, not a file; name a file"):
        read(path)


def test_file_replaced_by_a_pipe_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "a.png")
    regular = os.stat(tmp_path / "file")
    monkeypatch.setattr(os, "stat", lambda path: regular)  # as it was when first looked at
    with pytest.raises(ValueError, match=r"a\.png: a pipe, not a file"):
        open_regular(tmp_path / "a.png")


def test_many_rows_are_formatted_in_parts() -> None:
    parts = list(csv_parts(({"name": f"={number}"} for number in range(250)), ["name"]))
    assert [part.count(b"\n") for part in parts] == [1, 100, 100, 50]
    assert [row["name"] for row in read_csv(b"".join(parts).decode())] == [f"={number}" for number in range(250)]
    with pytest.raises(ValueError, match=r"no columns for \['other'\]"):
        list(csv_parts([{"other": 1}], ["name"]))
