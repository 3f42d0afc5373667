"""Files of a folder by their stem, lists of stems, and how messages show them."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ipsam.utils.files import unreadable

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")


def entries(folder: Path) -> list[Path]:
    """What lies directly in a folder, sorted by name; hidden entries are passed over.

    Raises:
        ValueError: the folder can't be read.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise ValueError(unreadable(folder, error)) from error


def image_files(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted by name; hidden files and others (`Thumbs.db`) are passed over.

    Raises:
        ValueError: the folder can't be read.
    """
    try:
        return [path for path in entries(folder) if path.suffix.lower() in EXTENSIONS and path.is_file()]
    except OSError as error:
        raise ValueError(unreadable(folder, error)) from error


def by_stem(folder: Path) -> dict[str, list[Path]]:
    """The image files directly in a folder by their stem, see `normal_stem`; several where they share it.

    Raises:
        ValueError: the folder can't be read, or a name can't be printed.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    for path in image_files(folder):
        files[normal_stem(with_readable_name(path).stem)].append(path)
    return dict(files)


def repeated(files: Mapping[str, Sequence[Path]]) -> list[str]:
    """The stems that several files share, sorted."""
    return sorted(stem for stem, paths in files.items() if len(paths) > 1)


def normal_stem(stem: str) -> str:
    """A stem as it is compared: a letter with an accent may be stored as one code or, as macOS does, as two."""
    return unicodedata.normalize("NFC", stem)


def with_readable_name(path: Path) -> Path:
    """The path itself, if its name can be printed and written into a table; otherwise ValueError."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{os.fsencode(path)!r}: the name is not UTF-8 and can't be reported; rename it") from error
    return path


def read_list(path: Path) -> list[str]:
    """The stems in a list file: one a line, an image extension allowed; blank lines are passed over.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it can't be read, or is not UTF-8.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such list. An undivided dataset needs a list for each split (train.txt, val.txt, test.txt) "
            "beside its folder of images, with a stem a line"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the list is not UTF-8 ({error}); save it as UTF-8, with a stem a line") from error
    except OSError as error:
        raise ValueError(unreadable(path, error)) from error
    endings = f"({'|'.join(map(re.escape, EXTENSIONS))})$"
    return [normal_stem(re.sub(endings, "", name, flags=re.I)) for name in map(str.strip, lines) if name]


def hxw(size: object) -> str:
    """A size (height, width) as messages show it."""
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size)


def some(items: Iterable[str], num: int = 5) -> str:
    """The first few items and the number of the others."""
    listed = list(items)
    return ", ".join(listed[:num]) + (f" and {len(listed) - num} more" if len(listed) > num else "")
