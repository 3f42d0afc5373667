"""Archives: kept files, and refused archives."""

import errno
import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from support.fuzzing import bounded

from ipsam.tools.prepare import archives
from ipsam.tools.prepare.archives import unpack

FILES = {"set/Imgs/a.jpg": b"image", "set/GT/a.png": b"mask", "set/train.txt": b"a\n"}
OTHERS = {"set/readme.pdf": b"x", "set/a.mat": b"x", "__MACOSX/set/Imgs/a.jpg": b"x", "set/Imgs/._a.jpg": b"x"}


def zipped(path: Path, files: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("set/", b"")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], mode: Any = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "zip": zipped,
    "tar": lambda path, files: tarred(path, files, "w"),
    "gz": tarred,
    "bz2": lambda path, files: tarred(path, files, "w:bz2"),
}


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", WRITERS)
def test_images_and_lists_are_unpacked(tmp_path: Path, kind: str) -> None:
    archive = WRITERS[kind](tmp_path / "release.bin", FILES | OTHERS)  # the name doesn't matter
    assert unpack(archive, tmp_path / "new" / "folder") == len(FILES)
    assert below(tmp_path / "new" / "folder") == FILES


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["../a.png", "set/../../a.png", "/tmp/a.png", "..\\a.png", "C:\\a.png", "C:/a.png"])
def test_names_that_lead_out_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    archive = WRITERS[kind](tmp_path / "a.zip", {name: b"x"})
    with pytest.raises(ValueError, match=r"a\.zip holds the name '.*', which leads out of its folder: don't trust it"):
        unpack(archive, tmp_path / "folder")
    assert below(tmp_path).keys() == {"a.zip"}


def test_links_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind, target in (("set", tarfile.SYMTYPE, "../outside"), ("b.png", tarfile.LNKTYPE, "/etc/hostname")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
        member = tarfile.TarInfo("set/a.png")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    assert unpack(tmp_path / "a.tar", tmp_path / "folder") == 1
    assert below(tmp_path / "folder") == {"set/a.png": b"x"}
    assert below(tmp_path / "outside") == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n<!DOCTYPE html><title>Google Drive</title>", "is a web page, .*: fetch the archive in a browser"),
        (b"Rar!\x1a\x07\x00", "is RAR, .*: unpack it with its own program, and give archive=FOLDER"),
        (b"7z\xbc\xaf\x27\x1c", "is 7z, not a complete ZIP or TAR"),
        (b"", "is empty, .*: fetch it again"),
        (b"hello" * 1000, "is of an unknown format"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.zip {message}"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_archive_is_named(tmp_path: Path, kind: str) -> None:
    content = WRITERS[kind](tmp_path / "whole", {"a.png": os.urandom(5000), "b.png": os.urandom(5000)}).read_bytes()
    for number in range(40):
        broken = bytearray(content)
        if number % 2:
            del broken[len(content) * number // 41 :]
        else:
            broken[len(content) * number // 41] ^= 0xFF
        (tmp_path / "a.zip").write_bytes(broken)
        try:
            unpack(tmp_path / "a.zip", tmp_path / "folder")
        except ValueError as error:
            assert str(error).startswith(str(tmp_path / "a.zip"))  # noqa: PT017 (some damage is in nothing that is read)


def pax_bomb(path: Path, *, gigabytes: int = 1) -> Path:
    """A TAR whose only header claims gigabytes, and holds them, packed to a thousandth."""
    header = tarfile.TarInfo("a.png")
    header.type, header.size = tarfile.XHDTYPE, gigabytes << 30
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(header.size >> 24):
            file.write(bytes(1 << 24))
    return path


def endless_sparse_map(path: Path) -> Path:
    """A sparse file whose map has no end."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a.png")
        member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
        member.size = 1 << 26
        archive.addfile(member, cast(Any, Numbers()))
    return path


class Numbers:
    """Numbers without end, a line each; the first is how many there are."""

    def read(self, size: int) -> bytes:
        return b"9999999\n" + b"1\n" * (size // 2 - 4)


def chain(path: Path, number: int, kind: bytes) -> Path:
    """TAR with a chain of headers."""
    header = tarfile.TarInfo("a.png")
    header.type, header.size = kind, 2
    with gzip.open(path, "wb") as file:
        file.write((header.tobuf(tarfile.USTAR_FORMAT) + b"a\0".ljust(512, b"\0")) * number)
    return path


BOMBS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "header of gigabytes": (pax_bomb, "a header of more than 1,048,576 bytes"),
    "sparse map without end": (endless_sparse_map, "a header of more than"),
    "600 long names": (lambda path: chain(path, 600, tarfile.GNUTYPE_LONGNAME), "recursion|header"),
    "5,000 long names": (lambda path: chain(path, 5000, tarfile.GNUTYPE_LONGNAME), "recursion|header"),
    **{
        f"{kind} of {what}": (lambda path, write=write, name=name: write(path, {name: b"x"}), "which is too deep or lo")
        for kind, write in WRITERS.items()
        for what, name in (("1,000 folders", "a/" * 1000 + "a.png"), ("a name of 300 bytes", "\u00e4" * 150 + ".png"))
    },
    "ZIP by LZMA": (lambda path: zipped(path, FILES, zipfile.ZIP_LZMA), r"compressed by LZMA\): unpack it"),
    "TAR by XZ": (lambda path: tarred(path, FILES, "w:xz"), "is XZ, .*: unpack it with its own program"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(tmp_path: Path, name: str) -> None:
    write, message = BOMBS[name]
    archive = write(tmp_path / "a.zip")
    with bounded(megabytes=100), pytest.raises(ValueError, match=f"a.zip .*({message})"):
        unpack(archive, tmp_path / "folder")


def test_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(ValueError, match=r"a\.zip: a pipe, not a file"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")


def test_full_disk_is_named_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Iterator[bytes]:
        yield b"half"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archives, "_chunks", full)
    with pytest.raises(OSError, match="No space left") as error:
        unpack(zipped(tmp_path / "a.zip", FILES), tmp_path / "folder")
    assert error.value.filename == str(tmp_path / "folder/set/Imgs/a.jpg")
    assert below(tmp_path / "folder") == {}


def test_encrypted_archive_is_named(tmp_path: Path) -> None:
    content = bytearray(zipped(tmp_path / "a.zip", {"a.png": b"x"}).read_bytes())
    for begin, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag in both headers of the last file
        content[content.rindex(begin) + at] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip is encrypted: unpack it yourself, and give archive=FOLDER"):
        unpack(tmp_path / "a.zip", tmp_path / "folder")


def test_limits_of_sizes_numbers_and_free_space_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = zipped(tmp_path / "a.zip", {"a.png": bytes(100_000), "b.png": bytes(100_000)})
    assert archive.stat().st_size < 2000
    for name, value, message in (
        ("MAX_BYTES", 50_000, r"a\.zip: 'a\.png' has 100,000 bytes, above the limit of 50,000"),
        ("MAX_FILES", 1, "more than the limit of 1 files"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(archives, name, value)
            with pytest.raises(ValueError, match=message):
                unpack(archive, tmp_path / "folder")
    usage = archives.shutil.disk_usage(tmp_path)._replace(free=150_000)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ValueError, match=r"unpacks to more than the 150,000 bytes free in .*folder: make room there"):
        unpack(archive, tmp_path / "folder")


def test_missing_archive_and_one_without_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.zip: no such archive; .*archive=FILE"):
        unpack(tmp_path / "none.zip", tmp_path / "folder")
    with pytest.raises(ValueError, match=r"a\.zip holds no images \(\.jpg, .*\): is it the right archive\?"):
        unpack(zipped(tmp_path / "a.zip", OTHERS), tmp_path / "folder")
