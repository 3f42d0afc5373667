"""Files: written completely or not at all, and absence told apart from an error of the file system."""

import csv
import errno
import io
import json
import os
import re
import shutil
import socket
import stat
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from itertools import islice
from pathlib import Path

ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
MAX_SUFFIX = 12  # characters
DAY = 86400  # seconds
CSV_ROWS, PARQUET_ROWS = 100, 10_000  # held in memory at a time
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")  # begins a cell that a spreadsheet takes for one, escaped or not
PART = re.compile(r"\.(\d+)-([0-9a-f]{8})-[0-9a-f]{8}\.part(\.\w+)?")  # process, host, checksum of the file's name


Content = bytes | Iterable[bytes]  # of a file


def is_absent(error: OSError) -> bool:
    """Return whether an error says that nothing is there, rather than that it cannot be read now."""
    return error.errno in ABSENT


def mode_of(path: Path, *, follow: bool = True) -> int:
    """Return the mode of a file or folder, or of a link itself without ``follow``; 0 if nothing is there.

    ``Path.exists`` and similar methods also return False for some errors of the file system.

    Raises:
        OSError: the system cannot tell.
    """
    try:
        return os.stat(path, follow_symlinks=follow).st_mode
    except OSError as error:
        if not is_absent(error):
            raise
        return 0


def is_file(path: Path) -> bool:
    """Return whether a regular file is there; raise OSError as ``mode_of`` does."""
    return stat.S_ISREG(mode_of(path))


def is_folder(path: Path, *, follow: bool = True) -> bool:
    """Return whether a folder is there; raise OSError as ``mode_of`` does."""
    return stat.S_ISDIR(mode_of(path, follow=follow))


def check_regular(path: str | Path) -> None:
    """Check that a regular file is there: a pipe or a device may keep its reader waiting forever.

    Raises:
        ValueError: something else is there.
        OSError: nothing is there, or the system cannot tell.
    """
    _refuse_irregular(os.stat(path).st_mode, path)


def open_regular(path: str | Path) -> io.BufferedReader:
    """Open a regular file to read its bytes; errors as of ``check_regular``."""
    check_regular(path)  # even opening a device may have an effect
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))  # noqa: SIM115
    try:
        _refuse_irregular(os.fstat(file.fileno()).st_mode, path)  # it may have been replaced since
    except BaseException:
        file.close()
        raise
    return file


def _refuse_irregular(mode: int, path: str | Path) -> None:
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "a device")
        raise ValueError(f"{path}: {kind}, not a file; name a file, or put one in its place")


def remove(path: Path) -> None:
    """Remove a file, link or folder, if there is one; whatever cannot be removed of a folder stays."""
    if is_folder(path, follow=False):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def unreadable(path: Path, error: OSError) -> str:
    """Return the message for a file or folder that the system refuses to read."""
    return f"{path}: can't be read ({error.strerror or error}); give yourself the right to read it, or take it out"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden file beside ``path`` to write to; rename it to ``path`` at the end, remove it on an error.

    Its name is that of this process alone, so that several processes may write the same file.

    Raises:
        OSError: the system's, with ``path`` as the file's name, which an error while writing has not.
    """
    _remove_leftovers(path.parent)
    suffix = path.suffix if len(path.suffix) <= MAX_SUFFIX else ""  # the name must be short: path's may be the longest
    name = f".{os.getpid()}-{_host()}-{_checksum(path.name)}.part{suffix}"
    part = path.with_name(name)
    try:
        yield part
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):  # the first error is the one to report
            part.unlink()
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(part)):  # None: of writing
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_files(folder: Path, files: Mapping[str, Content]) -> None:
    """Write files to a folder, all of them completely or none, and flush them to the disk; make the folder.

    Raises:
        OSError: one cannot be written; with its path.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for name, content in files.items():
                with stack.enter_context(replacing(folder / name)).open("wb") as file:
                    file.writelines([content] if isinstance(content, bytes) else content)
                    file.flush()
                    os.fsync(file.fileno())
    except OSError as error:
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        raise OSError(error.errno, error.strerror, error.filename or str(folder)) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file as ``write_files`` does."""
    write_files(path.parent, {path.name: content})


def write_text(path: Path, content: str, *, errors: str = "strict") -> None:
    """Write a text file as ``write_bytes`` does; ``errors`` is that of ``str.encode``."""
    write_bytes(path, content.encode("utf-8", errors))


def write_json(path: Path, content: object) -> None:
    """Write a JSON file as ``write_files`` does."""
    write_bytes(path, as_json(content))


def as_json(content: object) -> bytes:
    """Format the content of a JSON file."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def as_csv(rows: Iterable[Mapping[str, object]], fields: Sequence[str] | None = None) -> bytes:
    """Format rows as the content of a CSV file; ``fields`` are their keys, by default those of all rows.

    A spreadsheet takes a text such as ``=1+1`` for a formula, and names come from other people's files. Such a text
    gets an apostrophe in front, which ``read_csv`` removes. What UTF-8 cannot encode becomes a question mark.
    """
    if fields is None:
        rows = list(rows)
        fields = list(dict.fromkeys(key for row in rows for key in row))
    return b"".join(csv_parts(rows, fields))


def csv_parts(rows: Iterable[Mapping[str, object]], fields: Sequence[str]) -> Iterator[bytes]:
    """Yield the content of ``as_csv`` in parts, as many rows need not be in memory at once."""
    text = io.StringIO(newline="")
    writer, waiting = csv.writer(text), iter(rows)
    writer.writerow(fields)
    known = set(fields)
    while True:
        yield text.getvalue().encode("utf-8", "replace")
        text.seek(0)
        text.truncate()
        if not (some := list(islice(waiting, CSV_ROWS))):
            return
        if unknown := [key for row in some for key in row if key not in known]:
            raise ValueError(f"no columns for {unknown}")
        writer.writerows([_escaped(row.get(key, "")) for key in fields] for row in some)


def as_parquet(rows: Iterable[Mapping[str, object]], fields: Mapping[str, type]) -> bytes:
    """Format rows as the content of a Parquet file; ``fields`` has the type, ``str`` or ``float``, of each key."""
    import pyarrow
    from pyarrow import parquet  # both an extra

    types = {str: pyarrow.string(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, types[of]) for name, of in fields.items()])
    sink, waiting = pyarrow.BufferOutputStream(), iter(rows)
    with parquet.ParquetWriter(sink, schema) as writer:
        while group := list(islice(waiting, PARQUET_ROWS)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema))
    return bytes(sink.getvalue())


def read_csv(text: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a text that ``as_csv`` formatted."""
    for row in csv.DictReader(io.StringIO(text, newline="")):
        yield {key: _unescaped(value) for key, value in row.items()}


def _unescaped(value: str) -> str:  # or None, where a damaged row is too short
    return value[1:] if isinstance(value, str) and value.startswith("'") and FORMULA.match(value) else value


def _escaped(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


@cache
def _remove_leftovers(folder: Path) -> None:
    """Remove the parts of dead processes of this host, and of any host after a day; once a process and folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if (match := PART.fullmatch(entry.name)) and (
                (match[2] == _host() and not _is_running(int(match[1])))
                or time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY
            ):
                os.unlink(entry)


@cache
def _host() -> str:
    """Identify the host since its start, or the container: a process number means nothing elsewhere."""
    parts = [socket.gethostname()]  # hosts of a cloud often share a name
    with suppress(OSError):  # Linux only
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return _checksum(" ".join(parts))


def _is_running(pid: int) -> bool:
    if sys.platform != "win32":  # where os.kill with 0 sends Ctrl-C
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except (OSError, OverflowError):  # another user's
            pass
    return True


def _checksum(text: str) -> str:
    return f"{zlib.crc32(os.fsencode(text)):08x}"
