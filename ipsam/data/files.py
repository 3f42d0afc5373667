"""List a folder's image files by stem, read lists of stems, and format both for messages."""

import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from ipsam.utils.files import is_absent, unreadable
from ipsam.utils.untrusted import bounded_text

JPEG, TIFF = ("JPEG", "MPO"), ("TIFF",)  # Pillow's names; an MPO is a JPEG with further images behind the first
FORMATS = {".jpg": JPEG, ".jpeg": JPEG, ".jpe": JPEG, ".jfif": JPEG, ".png": ("PNG",), ".bmp": ("BMP", "DIB")}
FORMATS |= {".tif": TIFF, ".tiff": TIFF, ".webp": ("WEBP",)}
EXTENSIONS = tuple(FORMATS)
# Pictures that are not read: a reader for each would be one more way in for hostile files.
NOT_READ = (".avif", ".exr", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".tga")
ARRAYS = (".npy", ".npz")  # of NumPy, for maps only
MAP_EXTENSIONS = (*EXTENSIONS, *ARRAYS)
TYPES = "/".join(extension[1:] for extension in EXTENSIONS)
MAP_TYPES = f"{TYPES}/npy/npz"


def entries(folder: Path) -> list[Path]:
    """List a folder's entries by name, without hidden ones; ValueError if it cannot be read."""
    try:
        return [folder / name for name in sorted(os.listdir(folder)) if not name.startswith(".")]
    except OSError as error:
        raise ValueError(unreadable(folder, error)) from error


def image_files(folder: Path) -> list[Path]:
    """List the image files directly in a folder by name; ValueError if it cannot be read."""
    return _files_of(folder, EXTENSIONS)


def holds_files(folder: Path, endings: Collection[str] = EXTENSIONS) -> bool:
    """Return whether files with these endings lie directly in a folder; ValueError if it cannot be read."""
    return any(_scan(folder, endings))


def subfolders(folder: Path) -> list[Path]:
    """List the folders directly in a folder by name, without hidden ones; ValueError if it cannot be read."""
    return [folder / name for name in sorted(_entries_of(folder, lambda entry: _is(entry, "dir")))]


def pictures_not_read(folder: Path) -> str:
    """Return a message about the pictures directly in a folder that are passed over; empty without any."""
    names = [path.name for path in _files_of(folder, NOT_READ)]
    formats = f"{len(names)} pictures in {folder} have a format that is not read: {some(names)}"
    return f"{formats}; save them as PNG" if names else ""


def _files_of(folder: Path, endings: Collection[str]) -> list[Path]:
    return [folder / name for name in _names_of(folder, endings)]


def _names_of(folder: Path, endings: Collection[str]) -> list[str]:
    return sorted(_scan(folder, endings))


def _scan(folder: Path, endings: Collection[str]) -> Iterator[str]:
    """Yield the names of a folder's files with these endings."""
    return _entries_of(folder, lambda entry: os.path.splitext(entry.name)[1].lower() in endings and _is(entry, "file"))


def _entries_of(folder: Path, wanted: Callable[["os.DirEntry[str]"], bool]) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            yield from (entry.name for entry in found if not entry.name.startswith(".") and wanted(entry))
    except OSError as error:
        raise ValueError(unreadable(folder, error)) from error


def _is(entry: "os.DirEntry[str]", kind: Literal["file", "dir"]) -> bool:
    try:
        return entry.is_file() if kind == "file" else entry.is_dir()
    except OSError:  # a link to itself, for one
        return Path(entry.path).is_file() if kind == "file" else Path(entry.path).is_dir()


def by_stem(folder: Path) -> dict[str, list[Path]]:
    """Map stems, as `normal_stem` writes them, to the image files directly in a folder; errors as `names_by_stem`'s."""
    return {stem: [folder / name for name in names] for stem, names in names_by_stem(folder).items()}


def names_by_stem(folder: Path, endings: Collection[str] = EXTENSIONS) -> dict[str, tuple[str, ...]]:
    """Map stems to the names of a folder's files with these endings, in a third of what paths take.

    Raises:
        ValueError: the folder cannot be read, or a name cannot be printed.
    """
    names: dict[str, tuple[str, ...]] = {}
    for name in _names_of(folder, endings):
        if not name.isascii():
            with_readable_name(folder / name)
        stem = normal_stem(os.path.splitext(name)[0])
        names[stem] = (*names.get(stem, ()), name)
    return names


def repeated(files: Mapping[str, Sequence[object]]) -> list[str]:
    """Return the stems that several files share, sorted."""
    return sorted(stem for stem, paths in files.items() if len(paths) > 1)


def normal_stem(stem: str) -> str:
    """Normalise accents, which may be stored as one code or, by macOS, as two."""
    return unicodedata.normalize("NFC", stem)


def with_readable_name(path: Path) -> Path:
    """Return the path if its name can be printed and written into a table; otherwise raise ValueError."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{os.fsencode(path)!r}: the name is not UTF-8 and can't be reported; rename it") from error
    return path


def read_list(path: Path) -> list[str]:
    """Read a list of stems: one a line, with or without an image extension; blank lines are skipped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or is not UTF-8.
    """
    try:
        lines = bounded_text(path).removeprefix("\ufeff").splitlines()  # the mark that Windows begins a text with
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the list is not UTF-8 ({error}); save it as UTF-8, with a stem a line") from error
    except OSError as error:
        if not is_absent(error):
            raise ValueError(unreadable(path, error)) from error
        raise FileNotFoundError(
            f"{path}: no such list. An undivided dataset needs a list for each split (train.txt, val.txt, test.txt) "
            "beside its folder of images, with a stem a line"
        ) from error
    endings = f"({'|'.join(map(re.escape, EXTENSIONS))})$"
    return [normal_stem(re.sub(endings, "", name, flags=re.I)) for name in map(str.strip, lines) if name]


def hxw(size: object) -> str:
    """Format a size (height, width) as `HxW`."""
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size)


def some(items: Iterable[str], num: int = 5) -> str:
    """Join the first ``num`` items, and count the others."""
    listed = list(items)
    return ", ".join(listed[:num]) + (f" and {len(listed) - num} more" if len(listed) > num else "")
