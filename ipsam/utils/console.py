"""Console: text that is safe to print, and commands named as the user called this one."""

import io
import logging
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

# Characters that steer a terminal, reorder the text around them, or belong to no encoding. Line breaks and tabs stay.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
COMMAND = re.compile(r"(?<!-m )\bipsam ([a-z_]+)\b")
COMMANDS = Path(__file__).parents[1] / "cli"  # one module a command


def printable(text: str) -> str:
    r"""Escape control characters, such as ``\x1b`` in a file's name, and name commands as the user called this one.

    Messages name a command ``ipsam NAME``; a user of ``python scripts/train.py`` reads ``python scripts/NAME.py``.
    """
    return COMMAND.sub(_as_called, visible(text))


def visible(text: str) -> str:
    r"""Escape control characters, such as ``\x1b`` in a file's name."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: "1 epoch", "2 epochs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _as_called(found: re.Match[str]) -> str:
    if not (COMMANDS / f"{found[1]}.py").is_file():
        return found[0]
    if sys.argv[0].startswith("python -m "):
        return f"python -m {found[0]}"
    script = Path(sys.argv[0]).with_name(f"{found[1]}.py")
    return f"python {script}" if script.parent.name == "scripts" else found[0]


def show(*lines: object) -> None:
    """Print each on a line of its own.

    Raises:
        OSError: standard output cannot be written, such as a file on a full disk.
        SystemExit: nobody reads it any longer, as in ``ipsam tables | head``.
    """
    try:
        print(*(printable(str(line)) for line in lines), sep="\n", flush=True)
    except OSError as error:
        with suppress(OSError):  # what is still buffered would fail again at the end of the process
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(128 + 13)  # as a process that SIGPIPE ends
        raise OSError(error.errno, error.strerror, "standard output") from error


class _Lenient:
    """Standard error that drops what cannot be written: no message ends the work that it is about."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text if the stream can take it."""
        with suppress(OSError, ValueError):  # a closed terminal, a full disk; a closed stream
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream if it can be."""
        with suppress(OSError, ValueError):
            self._stream.flush()


def prepare_streams() -> None:
    """Make the standard streams usable for any text, and standard error in any state.

    What the console cannot encode, such as the letters outside of cp1252 on Windows, is escaped. A stream that the
    caller closed, as in ``2>&-``, is opened on the null device, as the next file would get its number. A log line that
    train.log has no room for is dropped, not replaced by a traceback.
    """
    logging.raiseExceptions = False
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stderr, _Lenient):
        sys.stderr = _Lenient(sys.stderr)


class Formatter(logging.Formatter):
    """Formatter of log records as printable text."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        return printable(super().format(record))
