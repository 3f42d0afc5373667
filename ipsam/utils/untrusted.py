"""Files that a stranger may have written: YAML and JSON as plain data of bounded size, and torch archives.

Aliases and merged keys make gigabytes of a kilobyte of YAML, tags make objects, interpolations read the environment,
and pickles call functions.
"""

import json
import os
import pickletools
import zipfile
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import yaml

from ipsam.utils.files import open_regular

MAX_BYTES = 1 << 16  # of a configuration; a run's has two thousand
MAX_SCORES = 1 << 26  # bytes of a file of scores, for half a million images
MAX_DEPTH = 32
MAX_TEXT = 4096  # characters; as a path
MAX_INT = 1 << 63
MAX_PICKLE = 8 << 20  # bytes of the structure around the tensors; training SAM2-L takes 300 thousand
ZIP_START = b"PK\x03\x04"
TENSOR_GLOBALS = ("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter")


class _Loader(yaml.SafeLoader):
    """Safe loader that refuses aliases, which no saved configuration has."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds an alias")
        return super().compose_node(parent, index)


def read_plain_yaml(path: Path) -> Any:
    """Read dictionaries with text keys, lists, texts, numbers, booleans and None from YAML.

    Raises:
        ValueError: the file holds anything else, an interpolation, a value left open, or too much.
        OSError: it cannot be read.
    """
    return _read(path, lambda text: yaml.load(text, _Loader), "YAML")  # noqa: S506 (safer than the safe one)


def read_plain_json(path: Path) -> Any:
    """Read such values from JSON; see ``read_plain_yaml``."""
    return _read(path, json.loads, "JSON")


def bounded_text(path: Path, limit: int = MAX_SCORES) -> str:
    """Read a text file of any size up to a limit in bytes.

    Raises:
        ValueError: it is larger, or not UTF-8.
        OSError: it cannot be read; with its path.
    """
    try:
        with open_regular(path) as file, TextIOWrapper(file, encoding="utf-8") as text:
            if (num_bytes := os.fstat(file.fileno()).st_size) > limit:
                raise ValueError(f"{path} has {num_bytes:,} bytes, above the limit of {limit:,}")
            return text.read()
    except OSError as error:  # an error while reading has no path
        raise OSError(error.errno, error.strerror, str(path)) from error


def _read(path: Path, parse: Callable[[str], Any], language: str) -> Any:
    try:
        text = bounded_text(path, MAX_BYTES)
    except UnicodeError as error:
        raise ValueError(f"{path} is not a plain {language} configuration: {error!s:.200}") from error
    try:
        content = parse(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: the 99th of May, or 5,000 digits
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path} is not a plain {language} configuration: {reason:.200}") from error
    try:
        _check(content, "", 0)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    return content


def _check(value: Any, key: str, depth: int) -> None:
    """Check a value and those in it; the message of the ValueError follows the file's name."""
    where = f"at {key:.200}" if key else "at its top"
    if depth > MAX_DEPTH:
        raise ValueError(f"has more than {MAX_DEPTH} levels, which no run's configuration has")
    if isinstance(value, dict):
        for name, child in value.items():
            if not isinstance(name, str):
                raise ValueError(f"is not a plain configuration: a key of type {type(name).__name__} {where}")
            _check_text(name, where)
            _check(child, f"{key}.{name}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _check(child, f"{key}[{index}]", depth + 1)
    elif isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, int | float):
        if value != value or (isinstance(value, int) and abs(value) >= MAX_INT):
            raise ValueError(f"holds NaN or a whole number of more than 64 bits {where}")
    elif value is not None:
        raise ValueError(f"is not a plain configuration: a value of type {type(value).__name__} {where}")


def _check_text(text: str, where: str) -> None:
    if len(text) > MAX_TEXT:
        raise ValueError(f"holds a text of {len(text):,} characters {where}, above the limit of {MAX_TEXT:,}")
    if "${" in text:
        raise ValueError(f"holds interpolations ({where}); a run saves its configuration resolved")
    if text == "???":
        raise ValueError(f"leaves a value open ({where}); a run saves its configuration complete")


def check_archive(path: Path, *, only_tensors: bool = True) -> None:
    """Check that unpickling a torch file takes no more memory than the file has bytes.

    Args:
        only_tensors: refuse globals other than tensors and their containers.

    Raises:
        ValueError: it takes more, or names such a global.
        OSError, zipfile.BadZipFile: the file cannot be read, or is not an archive.
    """
    with open_regular(path) as file:
        if file.read(len(ZIP_START)) != ZIP_START:  # torch would read it as a bare pickle, its format before 1.6
            raise zipfile.BadZipFile("it is not a torch archive")
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if len({record.filename.lower() for record in records}) < len(records):  # torch ignores upper and lower case
            raise ValueError("two of its records have the same name")
        if sum(record.file_size for record in records) > path.stat().st_size:
            raise ValueError("it would unpack to more bytes than it has")
        for record in records:
            if not record.filename.lower().endswith(".pkl"):
                continue
            if record.file_size > MAX_PICKLE:
                raise ValueError(f"its pickle has {record.file_size:,} bytes, above the limit of {MAX_PICKLE:,}")
            for operation, argument, _ in pickletools.genops(archive.read(record)) if only_tensors else ():
                if operation.name == "GLOBAL" and not _belongs_to_tensors(str(argument)):
                    raise ValueError(f"it names {str(argument).replace(' ', '.')!r:.99}, where only tensors belong")


def _belongs_to_tensors(name: str) -> bool:
    return name in TENSOR_GLOBALS or (name.startswith("torch ") and name.endswith("Storage"))
