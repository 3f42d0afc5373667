"""Printed text: no control characters, any console's encoding, and commands named as the user called them."""

import io
import logging
import os
import subprocess
import sys

import pytest

from ipsam.utils.console import Formatter, allow_any_text, printable, show

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
    allow_any_text()
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
