"""Safe unpacking of a dataset's archive: images and lists only, inside the folder, within size limits."""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ipsam.data.decoding.limits import MAX_BYTES
from ipsam.data.files import EXTENSIONS

KEPT = (*EXTENSIONS, ".txt")  # releases hold many other files, which no run uses
MAX_FILES = 200_000
CHUNK = 1 << 20
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError)
FETCH_AGAIN = "fetch it again"
SOLUTIONS = {
    "empty": FETCH_AGAIN,
    "cut off or damaged": FETCH_AGAIN,
    "a web page": "fetch the archive in a browser, and give archive=FILE",
}
MAGIC = {b"Rar!": "RAR", b"7z\xbc\xaf": "7z"}  # formats that Python can't read

Entry = tuple[str, int, Callable[[int], bytes]]  # name, size, read(num_bytes)


def unpack(archive: Path, folder: Path) -> int:
    """Unpack images and lists of a ZIP or (compressed) TAR file, whatever its name; return the number of files.

    Raises:
        FileNotFoundError: the archive doesn't exist.
        ValueError: it has another format, is broken or encrypted, holds a name that leads out of the folder, exceeds
            the free space or 200,000 files, or holds a file of more than a gigabyte.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"{archive}: no such archive; fetch it first, or name its file with archive=FILE")
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    written = number = 0
    for name, size, read in _entries(archive):
        number += 1
        target = folder / _safe_path(name, archive)
        if number > MAX_FILES:
            raise ValueError(f"{archive} holds more than the limit of {MAX_FILES:,} files; is it the right archive?")
        if size > MAX_BYTES:
            raise ValueError(f"{archive}: {name!r:.200} has {size:,} bytes, above the limit of {MAX_BYTES:,}")
        if (written := written + size) > free:
            raise ValueError(f"{archive} unpacks to more than the {free:,} bytes free in {folder}: make room there")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file, _broken_archive_named(archive):
            _copy(read, file, size, name)
    if not any(path.suffix.lower() in EXTENSIONS for path in folder.rglob("*")):
        raise ValueError(
            f"{archive} holds no images ({', '.join(EXTENSIONS)}): is it the right archive? Unpack archives inside it "
            "first"
        )
    return number


def _entries(archive: Path) -> Iterator[Entry]:
    """Yield the regular files to keep; links and devices are skipped."""
    with _broken_archive_named(archive):
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                for info in opened.infolist():
                    if info.flag_bits & 1:
                        raise ValueError(f"{archive} is encrypted: unpack it yourself, and give archive=FOLDER")
                    if not info.is_dir() and _is_kept(info.filename):
                        with opened.open(info) as content:
                            yield info.filename, info.file_size, content.read
            return
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as packed:
                for member in packed:
                    if member.isfile() and _is_kept(member.name) and (file := packed.extractfile(member)):
                        yield member.name, member.size, file.read
            return
    kind = _kind(archive)
    solution = SOLUTIONS.get(kind, "unpack it with its own program, and give archive=FOLDER")
    raise ValueError(f"{archive} is {kind}, not a complete ZIP or TAR: {solution}")


@contextmanager
def _broken_archive_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{archive} can't be unpacked: {reason:.200}; if it is broken, fetch it again") from error


def _copy(read: Callable[[int], bytes], file: BinaryIO, size: int, name: str) -> None:
    """Copy exactly the number of bytes that the archive declares; BadZipFile for more or fewer."""
    left = size
    while chunk := read(CHUNK):
        left -= len(chunk)
        if left < 0:
            break
        file.write(chunk)
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
    return Path(*path.parts)


def _kind(archive: Path) -> str:
    with archive.open("rb") as file:
        start = file.read(512)
    if not start:
        return "empty"
    if start.startswith((b"PK", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        return "cut off or damaged"
    if start.lstrip()[:1] == b"<":
        return "a web page"
    return next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), "of an unknown format")
