"""Safe unpacking of a dataset's archive: images and lists only, inside the folder, within size limits."""

import bz2
import gzip
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, TypeVar, cast

from ipsam.data.decoding.limits import MAX_BYTES
from ipsam.data.files import EXTENSIONS
from ipsam.utils.files import mode_of, open_regular, replacing

KEPT = (*EXTENSIONS, ".txt")  # releases hold many other files, which no run uses
MAX_FILES = 200_000
MAX_FOLDERS, MAX_NAME = 32, 255  # folders around a file, and bytes in the name of each
MAX_HEADER = 1 << 20  # bytes of a TAR's headers in front of a file; most have 1,024
CHUNK = 1 << 20
BROKEN = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, struct.error, EOFError, OSError, OverflowError, RecursionError,
    ValueError,
)  # fmt: skip
FETCH_AGAIN, UNPACK = "fetch it again", "unpack it with its own program, and give archive=FOLDER"
SOLUTIONS = {
    "empty": FETCH_AGAIN,
    "cut off or damaged": FETCH_AGAIN,
    "a web page": "fetch the archive in a browser, and give archive=FILE",
}
OPENERS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open}
# XZ takes as much memory as the file says, and Python can't read the others.
OTHERS = {b"PK": "cut off or damaged", b"Rar!": "RAR", b"7z\xbc\xaf": "7z", b"\xfd7zXZ": "XZ"}


class BrokenArchiveError(ValueError):
    """File that no program could unpack: a web page, or an archive that is cut off or damaged."""


Entry = tuple[str, int, Callable[[int], bytes]]  # name, size, read(num_bytes)
T = TypeVar("T")


def unpack(archive: Path, folder: Path) -> int:
    """Unpack images and lists of a ZIP or TAR file, maybe compressed, whatever its name; return the number of files.

    Raises:
        FileNotFoundError: the archive doesn't exist.
        ValueError: it has another format, is broken or encrypted, holds a name that leads out of the folder, exceeds
            the free space or 200,000 files, or holds a file of more than a gigabyte.
        OSError: a file cannot be written; with its path.
    """
    if not mode_of(archive):
        raise FileNotFoundError(f"{archive}: no such archive; fetch it first, or name its file with archive=FILE")
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    written = 0
    suffixes: list[str] = []
    for name, size, read in _entries(archive):
        path = _safe_path(name, archive)
        suffixes.append(path.suffix.lower())
        if size > MAX_BYTES:
            raise ValueError(f"{archive}: {name!r:.200} has {size:,} bytes, above the limit of {MAX_BYTES:,}")
        if (written := written + size) > free:
            raise ValueError(f"{archive} unpacks to more than the {free:,} bytes free in {folder}: make room there")
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(folder / path) as part, part.open("wb") as file:
            for chunk in _chunks(read, size, name, archive):
                file.write(chunk)
    if not set(suffixes) & set(EXTENSIONS):
        raise ValueError(
            f"{archive} holds no images ({', '.join(EXTENSIONS)}): is it the right archive? Unpack archives inside it "
            "first"
        )
    return len(suffixes)


def _entries(archive: Path) -> Iterator[Entry]:
    """Yield the regular files to keep; links and devices are skipped."""
    with open_regular(archive) as packed:
        start = packed.read(512)
    with _broken_archive_named(archive):
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for info in _limited(opened.infolist(), archive):
                    if info.flag_bits & 1:
                        raise ValueError(f"{archive} is encrypted: unpack it yourself, and give archive=FOLDER")
                    if info.compress_type == zipfile.ZIP_LZMA:  # takes as much memory as the file says
                        raise NotImplementedError("it is compressed by LZMA")
                    if not info.is_dir() and _is_kept(info.filename):
                        with opened.open(info) as content:
                            yield info.filename, info.file_size, content.read
            return
        opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), None)
        if opener or start[257:262] == b"ustar":
            with (opener or open)(archive, "rb") as unzipped:
                yield from _tar_entries(_TarContent(unzipped), archive)
            return
    kind = _kind(start)
    fault = BrokenArchiveError if kind in SOLUTIONS else ValueError
    raise fault(f"{archive} is {kind}, not a complete ZIP or TAR: {SOLUTIONS.get(kind, UNPACK)}")


class _TarContent:
    """Content of a TAR that gives out ``left`` bytes and no more: a header may claim gigabytes."""

    def __init__(self, file: Any) -> None:
        self._file, self.left = file, MAX_HEADER

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise tarfile.ReadError(f"a header of more than {MAX_HEADER:,} bytes")
        content: bytes = self._file.read(size)
        return content


def _tar_entries(content: _TarContent, archive: Path) -> Iterator[Entry]:
    with tarfile.TarFile(fileobj=cast(IO[bytes], content)) as opened:
        for member in _limited(opened, archive):
            if member.isfile() and _is_kept(member.name) and (file := opened.extractfile(member)):
                content.left = member.size + MAX_HEADER
                yield member.name, member.size, file.read
            content.left = MAX_HEADER


def _limited(entries: Iterable[T], archive: Path) -> Iterator[T]:
    for number, entry in enumerate(entries):
        if number >= MAX_FILES:
            raise ValueError(f"{archive} holds more than the limit of {MAX_FILES:,} files; is it the right archive?")
        yield entry


@contextmanager
def _broken_archive_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except NotImplementedError as error:  # such as a rare compression
        raise ValueError(f"{archive} can't be unpacked here ({error}): {UNPACK}") from error
    except BROKEN as error:
        if str(error).startswith(str(archive)):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BrokenArchiveError(
            f"{archive} can't be unpacked: {reason:.200}; if it is broken, fetch it again"
        ) from error


def _chunks(read: Callable[[int], bytes], size: int, name: str, archive: Path) -> Iterator[bytes]:
    """Read exactly the number of bytes that the archive declares."""
    left = size
    with _broken_archive_named(archive):
        while chunk := read(CHUNK):
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise zipfile.BadZipFile(f"{name!r:.200} has another length than declared")


def _is_kept(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.suffix.lower() in KEPT and not path.name.startswith(".") and "__MACOSX" not in path.parts


def _safe_path(name: str, archive: Path) -> Path:
    """Return an archive's name as a relative path; ValueError if it leads out of the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
        raise ValueError(f"{archive} holds the name {name!r:.200}, which leads out of its folder: don't trust it")
    if len(path.parts) > MAX_FOLDERS or any(len(os.fsencode(part)) > MAX_NAME for part in path.parts):
        raise ValueError(
            f"{archive} holds the name {name!r:.200}, which is too deep or long for a file: don't trust it"
        )
    return Path(*path.parts)


def _kind(start: bytes) -> str:
    if not start:
        return "empty"
    if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":  # the mark that may begin UTF-8
        return "a web page"
    return next((kind for magic, kind in OTHERS.items() if start.startswith(magic)), "of an unknown format")
