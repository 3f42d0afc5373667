"""Broken and hostile ``training.pt`` files, made of a good one."""

import io
import zipfile
from collections.abc import Callable
from typing import Any

import torch

Change = Callable[[bytes], bytes]
MOMENTS = ("optimizer", "state", 0)
GENERATORS = ("rng", 0)


class Payload:
    """Call of a function by whoever unpickles and trusts it."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def archived(content: Any, *, legacy: bool = False) -> bytes:
    """Save as ``torch.save`` does, or with ``legacy`` as it did before version 1.6."""
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def rebuilt(content: bytes, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Change the records of an archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return file.getvalue()


def zipped(**records: bytes) -> bytes:
    """Make an archive of any records."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return file.getvalue()


def _pickled(pickled: bytes) -> Change:
    """Replace the whole pickle of an archive."""
    return lambda content: rebuilt(archived({}), lambda name, old: pickled if name.endswith(".pkl") else old)


def _state(change: Callable[[dict[str, Any]], object]) -> Change:
    def changed(content: bytes) -> bytes:
        state = torch.load(io.BytesIO(content), weights_only=True)
        change(state)
        return archived(state)

    return changed


def _set(*keys: Any, value: Any = None, pop: bool = False) -> Change:
    """Replace one value, by a value or by what a function of the old one returns; or remove it."""

    def change(node: Any) -> None:
        for key in keys[:-1]:
            node = node[key]
        old = node.pop(keys[-1]) if pop else node[keys[-1]]
        if not pop:
            node[keys[-1]] = value(old) if callable(value) else value

    return _state(change)


def _each(keys: tuple[Any, ...], values: dict[str, Any]) -> dict[str, Change]:
    return {f"{'.'.join(map(str, keys))}: {name}": _set(*keys, value=value) for name, value in values.items()}


def _endless(old: torch.Tensor) -> torch.Tensor:
    """A tensor of a few bytes that claims a million million numbers."""
    return torch.zeros(1, dtype=old.dtype).expand(1 << 40)


# A pickle of some 100 bytes that makes 2**34.
DOUBLED = (
    b"\x80\x02c_codecs\nencode\nq\x00X\x04\x00\x00\x00aaaaX\x06\x00\x00\x00latin1\x86R"
    + b"q\x01h\x00h\x01X\x03\x00\x00\x00hex\x86R" * 34
    + b"."
)
# A pickle of 900 KB that makes 99,999 dictionaries of 9,999 pairs.
COPIED = (
    b"\x80\x02ccollections\nOrderedDict\nq\x00]("
    + b"".join(b"M" + number.to_bytes(2, "little") + b"N\x86" for number in range(9999))
    + b"eq\x01]("
    + b"h\x00h\x01\x85R" * 99999
    + b"e."
)
NAN, INFINITY = float("nan"), float("inf")

# The settings of the run replace these, so that it resumes.
HARMLESS_STATES: dict[str, Change] = {
    "random states by name": _set("rng", value=lambda old: {0: old[0]}),
    **{
        f"{name} {value}": _set("optimizer", "param_groups", 0, name, value=value)
        for name, value in {"lr": NAN, "weight_decay": 1e30, "maximize": True, "betas": (NAN, 2.0)}.items()
    },
    "no groups": _set("optimizer", "param_groups", value=[]),
}
HOSTILE_STATES: dict[str, Change] = {
    "nothing": lambda content: b"",
    "an archive of nothing": lambda content: zipped(),
    "an archive of paths": lambda content: zipped(**{"../../canary": b"x", "/tmp/canary": b"x", "a/data.pkl": b"N."}),
    "an empty dictionary": lambda content: archived({}),
    "the old format": lambda content: archived(torch.load(io.BytesIO(content), weights_only=True), legacy=True),
    "compressed": lambda content: rebuilt(content, lambda _, old: old, zipfile.ZIP_DEFLATED),
    "a bomb of 512 MB": lambda content: rebuilt(
        archived({"a": torch.zeros(4)}),
        lambda name, old: bytes(1 << 29) if name.endswith("data/0") else old,
        zipfile.ZIP_DEFLATED,
    ),
    "a record that is too short": lambda content: rebuilt(
        content, lambda name, old: old[:-4] if "/data/" in name else old
    ),
    "a text doubled 34 times": _pickled(DOUBLED),
    "a dictionary copied 99,999 times": _pickled(COPIED),
    "an array of 100 GB": _pickled(b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\0\0\0\0\x19\0\x85R."),
    "a tensor of 4 TB": _pickled(b"\x80\x02ctorch\nTensor\n\x8a\x06\0\0\0\0\0\x01\x85R."),
    "a pickle of 9 MB": _pickled(b"\x80\x02]" + b"(K\x01e" * 2_300_000 + b"."),
    **{f"no {'.'.join(map(str, keys))}": _set(*keys, pop=True) for keys in (("rng",), ("optimizer",), ("progress",))},
    "no optimizer.state": _set("optimizer", "state", pop=True),
    **_each(("rng",), {"two processes": lambda old: old * 2, "a number": 5}),
    **_each(
        ("optimizer", "state"),
        {"one parameter more": lambda old: old | {9999: old[0]}, "by name": lambda old: old | {"a": {}}},
    ),
    **_each(
        (*MOMENTS, "exp_avg"),
        {"another shape": lambda old: torch.zeros(3), "whole": lambda old: old.long(), "endless": _endless},
    ),
    **_each(
        (*MOMENTS, "exp_avg_sq"),
        {"infinite": lambda old: torch.full_like(old, INFINITY), "negative": lambda old: torch.full_like(old, -1)},
    ),
    **_each(
        (*MOMENTS, "step"), {"-1": lambda old: torch.tensor(-1.0), "NaN": lambda old: torch.tensor(NAN), "text": "3"}
    ),
    **_each(("progress",), {"text": "far", "an unknown key": lambda old: old | {"unknown": 1}}),
    **_each(("progress", "epoch"), {"-1": -1, "1e400": 10**400, "0.5": 0.5, "true": True}),
    **_each(("progress", "batch"), {"10**9": 10**9}),
    **_each(("progress", "best"), {"NaN": NAN, "text": "0.9"}),
    **_each(("progress", "history"), {"text": "long", "texts": [{"sm": "good"}]}),
    **_each((*GENERATORS, "python", 1), {"no words": [], "beyond 32 bits": [1 << 70] * 625}),
    **_each((*GENERATORS, "python", 1, 624), {"position 10**9": 10**9}),
    **_each((*GENERATORS, "numpy", 0), {"another kind": "PCG64"}),
    **_each(
        (*GENERATORS, "numpy", 1),
        {"three words": lambda old: torch.zeros(3, dtype=torch.int64), "endless": lambda old: _endless(old.float())},
    ),
    **_each((*GENERATORS, "numpy", 2), {"position 10**9": 10**9, "position -1": -1}),
    **_each(
        (*GENERATORS, "torch"),
        {
            "three bytes": lambda old: old[:3],
            "zeros": torch.zeros_like,
            "floats": torch.Tensor.float,
            "endless": _endless,
        },
    ),
}
