"""YAML or JSON that somebody else wrote, as plain data of bounded size.

Aliases and merged keys make a kilobyte into gigabytes, tags make objects, and interpolations read the environment.
"""

import json
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

MAX_PICKLE = 8 << 20  # bytes of what holds the tensors together; they lie beside it. Training SAM2-L takes 300 thousand
BEGIN = b"PK\x03\x04"
TENSORS_NEED = ("collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter")

MAX_BYTES = 1 << 16  # a run's configuration has two thousand
MAX_SCORES = 1 << 26  # bytes; of half a million images
MAX_DEPTH = 32
MAX_TEXT = 4096  # characters; as a path
MAX_WHOLE = 1 << 63


class _Loader(yaml.SafeLoader):
    """Without aliases, which a saved configuration has none of."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it holds an alias")
        return super().compose_node(parent, index)


def read_plain_yaml(path: Path) -> Any:
    """Dictionaries with texts for keys, lists, texts, numbers, booleans and None.

    Raises:
        ValueError: the file holds anything else, or too much of it; an interpolation, or a value left open.
    """
    return _read(path, lambda text: yaml.load(text, _Loader), "YAML")  # noqa: S506 (safer than the safe one)


def read_plain_json(path: Path) -> Any:
    """The same from JSON."""
    return _read(path, json.loads, "JSON")


def bounded_text(path: Path, limit: int = MAX_SCORES) -> str:
    """The text of a file that somebody else may have made any size.

    Raises:
        ValueError: it has more bytes than that, or is not UTF-8.
        OSError: it can't be read; with its path.
    """
    check_file_size(path, limit)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:  # of reading, which has no path
        raise OSError(error.errno, error.strerror, str(path)) from error


def check_file_size(path: Path, limit: int) -> None:
    """ValueError where a file has more bytes than that."""
    if (num_bytes := path.stat().st_size) > limit:
        raise ValueError(f"{path} has {num_bytes:,} bytes, above the limit of {limit:,}")


def _read(path: Path, parse: Callable[[str], Any], language: str) -> Any:
    check_file_size(path, MAX_BYTES)
    try:
        content = parse(bounded_text(path, MAX_BYTES))
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or the 99th of May
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path} is not a plain {language} configuration: {reason:.200}") from error
    try:
        _check(content, "", 0)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    return content


def _check(value: Any, key: str, depth: int) -> None:
    """ValueError, to be put behind the file's name, where a value or one in it won't do."""
    place = f"at {key:.200}" if key else "at its top"
    if depth > MAX_DEPTH:
        raise ValueError(f"has more than {MAX_DEPTH} levels, which no run's configuration has")
    if isinstance(value, dict):
        for name, child in value.items():
            if not isinstance(name, str):
                raise ValueError(f"is not a plain configuration: a key of type {type(name).__name__} {place}")
            _check_text(name, place)
            _check(child, f"{key}.{name}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for position, child in enumerate(value):
            _check(child, f"{key}[{position}]", depth + 1)
    elif isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, int | float):
        if value != value or (isinstance(value, int) and abs(value) >= MAX_WHOLE):
            raise ValueError(f"holds NaN or a whole number of more than 64 bits {place}")
    elif value is not None:
        raise ValueError(f"is not a plain configuration: a value of type {type(value).__name__} {place}")


def _check_text(text: str, place: str) -> None:
    if len(text) > MAX_TEXT:
        raise ValueError(f"holds a text of {len(text):,} characters {place}, above the limit of {MAX_TEXT:,}")
    if "${" in text:
        raise ValueError(f"holds interpolations ({place}); a run saves its configuration resolved")
    if text == "???":
        raise ValueError(f"leaves a value open ({place}); a run saves its configuration whole")


def check_archive(path: Path, *, only_tensors: bool = True) -> None:
    """See that unpickling a file takes no more memory than the file has bytes.

    Args:
        path: of the file.
        only_tensors: refuse names of anything but tensors and their containers.

    Raises:
        ValueError: it would, or it does.
        OSError, zipfile.BadZipFile: it can't be read, or is no such file.
    """
    with path.open("rb") as file:
        if file.read(len(BEGIN)) != BEGIN:  # else torch takes it for a file of before version 1.6, a bare pickle
            raise zipfile.BadZipFile("it is no archive of torch's")
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = [record.filename.lower() for record in records]  # torch finds them in any case of letters
        if len(set(names)) < len(names):
            raise ValueError("two of its parts have the same name")
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
    return name in TENSORS_NEED or (name.startswith("torch ") and name.endswith("Storage"))
