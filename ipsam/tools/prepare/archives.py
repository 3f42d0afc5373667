"""Unpacking a dataset's archive: its pictures and lists alone, nothing outside the folder, no more than fits."""

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ipsam.data.files import EXTENSIONS
from ipsam.data.headers import MAX_BYTES

KEPT = (*EXTENSIONS, ".txt")  # of other files, of which releases hold many, no run has any use
MAX_FILES = 200_000
CHUNK = 1 << 20
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, NotImplementedError)
FETCH_AGAIN = "fetch it again"
UNPACK = "unpack it with its own program, and give archive=FOLDER"
WAYS_OUT = {
    "empty": FETCH_AGAIN,
    "cut off or damaged": FETCH_AGAIN,
    "a web page": "fetch the archive in a browser, and give archive=FILE",
}
OTHERS = {b"Rar!": "RAR", b"7z\xbc\xaf": "7z"}  # formats that Python can't read, by how they begin

Entry = tuple[str, int, Callable[[int], bytes]]  # name, size, and what gives up to that many of the next bytes


def unpack(archive: Path, folder: Path) -> int:
    """Unpack the pictures and lists of a ZIP or (compressed) TAR file; returns how many.

    Args:
        archive: the file, told by its content whatever its name.
        folder: to unpack into, made if it is not there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is of another kind, broken or encrypted; a name in it leads out of the folder; or it holds more
            than there is room for, a file of over a gigabyte, or over 200,000 files.
    """
    if not archive.is_file():
        raise FileNotFoundError(f"{archive}: no such archive; fetch it first, or name its file with archive=FILE")
    room = shutil.disk_usage(_existing(folder)).free
    written = number = 0
    for name, size, read in _entries(archive):
        number += 1
        target = folder / _inside(name, archive)
        if number > MAX_FILES:
            raise ValueError(f"{archive} holds more than {MAX_FILES:,} files, as no dataset here does")
        if size > MAX_BYTES:
            raise ValueError(f"{archive}: {name!r:.200} has {size:,} bytes, above the limit of {MAX_BYTES:,}")
        if (written := written + size) > room:
            raise ValueError(f"{archive} unpacks to more than the {room:,} bytes free in {folder}: make room there")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file, _broken(archive):
            _copy(read, file, size, name)
    if not any(path.suffix.lower() in EXTENSIONS for path in folder.rglob("*")):
        raise ValueError(
            f"{archive} holds no pictures ({', '.join(EXTENSIONS)}): is it the right archive? One that is packed in it "
            "has to be unpacked first"
        )
    return number


def _entries(archive: Path) -> Iterator[Entry]:
    """Name, size and content of the files to keep; links and devices are passed over."""
    with _broken(archive):
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
    raise ValueError(f"{archive} is {kind}, no whole ZIP or TAR: {WAYS_OUT.get(kind, UNPACK)}")


@contextmanager
def _broken(archive: Path) -> Iterator[None]:
    try:
        yield
    except BROKEN as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{archive} can't be unpacked: {reason:.200}; if it is broken, fetch it again") from error


def _copy(read: Callable[[int], bytes], file: BinaryIO, size: int, name: str) -> None:
    """Copy as many bytes as were promised, and see that these were all."""
    left = size
    while chunk := read(CHUNK):
        left -= len(chunk)
        if left < 0:
            break
        file.write(chunk)
    if left:
        raise zipfile.BadZipFile(f"{name!r:.200} has another length than it says")


def _is_kept(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.suffix.lower() in KEPT and not path.name.startswith(".") and "__MACOSX" not in path.parts


def _inside(name: str, archive: Path) -> Path:
    """A name in an archive as a relative path; ValueError where it leads out of the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in name:
        raise ValueError(f"{archive} holds the name {name!r:.200}, which leads out of its folder: don't trust it")
    return Path(*path.parts)


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.absolute().parent)


def _kind(archive: Path) -> str:
    with archive.open("rb") as file:
        begin = file.read(512)
    if not begin:
        return "empty"
    if begin.startswith((b"PK", b"\x1f\x8b", b"BZh", b"\xfd7zXZ")):
        return "cut off or damaged"
    if begin.lstrip()[:1] == b"<":
        return "a web page"
    return next((kind for magic, kind in OTHERS.items() if begin.startswith(magic)), "no archive that is known here")
