"""Printed text: no control characters, any console's encoding, and commands named as the user called them."""

import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipsam.utils.console import Formatter, prepare_streams, printable, show

ESCAPES = "a\x1b]0;owned\x07b\r\x9b2J\u202egnp.exe\udcff"


def test_control_characters_are_escaped() -> None:
    shown = printable(f"{ESCAPES}\n\té 名")
    assert shown == "a\\x1b]0;owned\\x07b\\r\\x9b2J\\u202egnp.exe\\udcff\n\té 名"
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s", (ESCAPES,), None)
    assert Formatter("%(message)s").format(record) == printable(ESCAPES)


@pytest.mark.parametrize(
    ("called", "named"),
    [
        ("/usr/bin/ipsam train", "ipsam eval, ipsam package"),
        ("ipsam train", "ipsam eval, ipsam package"),
        ("python -m ipsam train", "python -m ipsam eval, ipsam package"),
        ("scripts/train.py", "python scripts/eval.py, ipsam package"),
        ("/a/scripts/train.py", "python /a/scripts/eval.py, ipsam package"),
        ("/site-packages/pytest/__main__.py", "ipsam eval, ipsam package"),
    ],
)
def test_commands_are_named_as_called(monkeypatch: pytest.MonkeyPatch, called: str, named: str) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert printable(printable("ipsam eval, ipsam package")) == named


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_any_console_takes_any_text(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding))
    prepare_streams()
    show("± 名", ESCAPES)
    assert b"\\u540d" in content.getvalue() or encoding == "utf-8"


def test_standard_output_that_is_full_or_closed() -> None:
    """A full disk ends in one sentence; ``ipsam score --help | head -0`` ends silently."""
    command = [sys.executable, "-m", "ipsam", "score", "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output: can't be written (No space left on device); make room")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


WRITES = """
import os, sys
from ipsam.utils.console import prepare_streams
from tqdm import tqdm
prepare_streams()
for _ in tqdm(range(3), mininterval=0):
    pass
sys.stderr.write("a message")
sys.stderr.flush()
os.write(os.open("written", os.O_WRONLY | os.O_CREAT), str(os.fstat(2).st_size).encode())
print("done")
"""


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", ">&- 2>&-", "<&- >&- 2>&-"])
def test_standard_error_ends_no_command(tmp_path: Path, redirection: str) -> None:
    """Closed, on a full disk, or gone with the others; and no file gets its number."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = f"{sys.executable} -c '{WRITES}' {redirection}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "written").read_text() == "0"
    assert b"done" in done.stdout or ">&-" in redirection
