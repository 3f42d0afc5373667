"""Files that a stranger may have written: YAML and JSON as plain data of bounded size, and torch archives.

Aliases and merged keys make gigabytes of a kilobyte of YAML, tags make objects, interpolations read the environment,
and pickles call functions.
"""

import json
import os
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # how Python 3 reads Python 2's names
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
MAX_COPIED = 1 << 20  # characters and items; training SAM2-L takes 40 thousand
MAX_ENCODED = 4  # characters that an encoding makes of one
# Besides the tensors', with parts of modules that other packages have pickled.
MODULE_GLOBALS = {"builtins.set", "_codecs.encode", "torch.Size", "torch.device", "torch.nn.parameter.Parameter"}
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


def bounded_json(path: Path, limit: int) -> Any:
    """Read JSON of any content from a file of up to ``limit`` bytes.

    Raises:
        ValueError: it is larger, not UTF-8, or not JSON; with its path.
        OSError: it cannot be read; with its path.
    """
    try:
        text = bounded_text(path, limit)
    except UnicodeDecodeError as error:
        raise _no_json(path, error) from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for 5,000 digits
        raise _no_json(path, error) from error


def _no_json(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: no JSON ({error!s:.200}); fetch or save it again")


def _read(path: Path, parse: Callable[[str], Any], language: str) -> Any:
    try:
        text = bounded_text(path, MAX_BYTES)
    except UnicodeError as error:
        raise ValueError(f"{path} is not a plain {language} configuration: {error!s:.200}") from error
    try:
        content = parse(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: the 99th of May, or 5,000 digits
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
            reason = f"{error.problem} in line {error.problem_mark.line + 1}"
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
    """Check that unpickling a torch file takes no more memory than the file has bytes, but for a small factor.

    Args:
        only_tensors: refuse globals other than tensors and their containers. Otherwise those are allowed as well that
            torch's restricted unpickler does not know by itself, so that the caller chooses what stands for them.

    Raises:
        ValueError: it takes more, or names such a global.
        OSError, zipfile.BadZipFile: the file cannot be read, or is not an archive.
        LookupError: its pickle is malformed.
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
            named = _checked_globals(archive.read(record))
            for name in sorted(named - (set() if only_tensors else _of_modules(named, path))):
                if not _belongs_to_tensors(name):
                    what = "tensors" if only_tensors else "modules"
                    raise ValueError(f"it names {name.replace(' ', '.')!r:.99}, where only {what} belong")


def _belongs_to_tensors(name: str) -> bool:
    return name in TENSOR_GLOBALS or (name.startswith("torch ") and name.endswith("Storage"))


def _of_modules(names: set[str], path: Path) -> set[str]:
    """Return the globals that torch's restricted unpickler leaves to the caller, or makes something small of."""
    import torch  # here: not every reader of YAML needs it

    unknown, found = set(torch.serialization.get_unsafe_globals_in_checkpoint(path)), set()
    for name in names:
        module, _, attribute = name.partition(" ")
        module, attribute = NAME_MAPPING.get((module, attribute), (IMPORT_MAPPING.get(module, module), attribute))
        is_type = module == "torch" and isinstance(getattr(torch, attribute, None), torch.dtype)
        if is_type or f"{module}.{attribute}" in unknown | MODULE_GLOBALS:
            found.add(name)
    return found


class _Value:
    """Value that a pickle makes: ``size`` is the length of a text, ``parts`` are what a container holds."""

    def __init__(self, size: int, parts: list["_Value"]) -> None:
        self.size, self.parts = size, parts

    def __len__(self) -> int:
        return self.size + len(self.parts)


def _checked_globals(pickled: bytes) -> set[str]:
    """Return the globals that a pickle names, without unpickling it; check that its calls copy few values.

    A pickle can name a value many times, at a few bytes each, and each call may make a copy of it.

    Raises:
        ValueError: the calls copy more characters and items than the pickle has bytes; or it is malformed.
        LookupError: it is malformed.
    """
    named: set[str] = set()
    stack: list[_Value] = []
    marks: list[int] = []
    memo: dict[Any, _Value] = {}
    copied = 0
    for operation, argument, _ in pickletools.genops(pickled):
        name, taken = operation.name, operation.stack_before
        if name == "GLOBAL":
            named.add(str(argument))
        if name == "MARK":
            marks.append(len(stack))
        elif "PUT" in name:
            memo[argument] = stack[-1]
        elif "GET" in name:
            stack.append(memo[argument])
        else:
            marked = pickletools.markobject in taken
            first = marks.pop() - taken.index(pickletools.markobject) if marked else len(stack) - len(taken)
            parts = stack[first:]
            del stack[first:]
            made = _Value(len(argument) if isinstance(argument, str) else 0, parts)
            if name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS"):
                made = parts[0]
                made.parts += parts[1:]
            elif name in ("REDUCE", "NEWOBJ"):
                made.size = sum(map(len, parts[1].parts))
                copied += made.size + len(parts[1])
                made.size *= MAX_ENCODED
            elif name == "BUILD":
                made = parts[0]
                copied += len(parts[1])
            if operation.stack_after:
                stack.append(made)
            if copied > min(len(pickled), MAX_COPIED):
                raise ValueError("its pickle copies the same values again and again")
    return named
