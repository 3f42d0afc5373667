"""Weights that somebody broke, or made to do harm."""

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors.torch
import torch

KINDS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}


def read_weights(content: bytes) -> dict[str, np.ndarray]:
    """A safetensors file of floats, by nothing but its specification."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], KINDS[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def with_header(content: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The same tensors behind another header."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    change(header)
    return raw_header(json.dumps(header).encode(), content[8 + length :])


def raw_header(header: bytes, data: bytes = b"") -> bytes:
    """A safetensors file of this header."""
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def with_tensors(content: bytes, change: Callable[[dict[str, torch.Tensor]], object]) -> bytes:
    """The same file with other tensors."""
    tensors = safetensors.torch.load(content)
    change(tensors)
    return safetensors.torch.save(tensors, metadata={"base_sha256": ""})


NAME = "decoder.iou_token.weight"  # of a tensor (1, 64)
HUGE = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}


def _put(**tensors: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda held: held.update({NAME: tensors["own"]} if "own" in tensors else tensors)


def _spoilt(value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda held: held[NAME].view(-1).__setitem__(7, value)


TENSORS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "renamed": lambda held: held.__setitem__("decoder.token", held.pop(NAME)),
    "missing": lambda held: held.pop(NAME),
    "all missing": lambda held: held.clear(),
    "one more": _put(extra=torch.zeros(3)),
    "a name of 100,000 letters": lambda held: held.__setitem__("x" * 100_000, torch.zeros(3)),
    "a name that clears the screen": lambda held: held.__setitem__("\x1b[2J\n" * 9, torch.zeros(3)),
    "a name that is a path": lambda held: held.__setitem__("../../canary", torch.zeros(3)),
    "10,000 more": lambda held: held.update({f"extra{index}": torch.zeros(1) for index in range(10_000)}),
    "turned": lambda held: held.__setitem__(NAME, held[NAME].T.contiguous()),
    "flat": lambda held: held.__setitem__(NAME, held[NAME].flatten()),
    "larger": _put(own=torch.zeros(2, 64)),
    "a single number": _put(own=torch.tensor(1.0)),
    "empty": _put(own=torch.zeros(0, 64)),
    "of 200 dimensions": _put(own=torch.zeros([1] * 200)),
    "whole numbers": _put(own=torch.ones(1, 64, dtype=torch.int64)),
    "bytes": _put(own=torch.ones(1, 64, dtype=torch.uint8)),
    "truth values": _put(own=torch.ones(1, 64, dtype=torch.bool)),
    "complex": _put(own=torch.ones(1, 64, dtype=torch.complex64)),
    "8-bit floats": _put(own=torch.ones(1, 64).to(torch.float8_e4m3fn)),
    "NaN": _spoilt(float("nan")),
    "infinite": _spoilt(float("inf")),
    "negative infinite": _spoilt(float("-inf")),
    "NaN throughout": lambda held: [tensor.fill_(float("nan")) for tensor in held.values()],
}
HEADERS: dict[str, Callable[[bytes], bytes]] = {
    "claims 4 TB": lambda content: with_header(content, lambda header: header.update(extra=HUGE)),
    "claims 4 TB for a known name": lambda content: with_header(content, lambda header: header.update({NAME: HUGE})),
    "claims 2**64 numbers": lambda content: with_header(
        content, lambda header: header[NAME].update(shape=[1 << 62, 1 << 62])
    ),
    "claims less than there is": lambda content: with_header(content, lambda header: header.pop(NAME)),
    "two names of one place": lambda content: with_header(content, lambda header: header.update(extra=header[NAME])),
    "backwards": lambda content: with_header(content, lambda header: header[NAME]["data_offsets"].reverse()),
    "negative": lambda content: with_header(content, lambda header: header[NAME].update(shape=[-1, 64])),
    "of an unknown type": lambda content: with_header(content, lambda header: header[NAME].update(dtype="F31")),
    "without an offset": lambda content: with_header(content, lambda header: header[NAME].pop("data_offsets")),
    "with another base": lambda content: with_header(
        content, lambda header: header.update(__metadata__={"base_sha256": "\x1b[2J" * 5000})
    ),
    "with a base that is a number": lambda content: with_header(
        content, lambda header: header.update(__metadata__={"base_sha256": 5})
    ),
    "deeply nested": lambda content: raw_header(b'{"a":' + b"[" * 1_000_000),
    "no dictionary": lambda content: raw_header(b"[1, 2]"),
    "no JSON": lambda content: raw_header(b"\xff" * 64),
    "of a length beyond the file": lambda content: struct.pack("<Q", 1 << 30) + content[8:],
    "of a length beyond all bounds": lambda content: struct.pack("<Q", (1 << 64) - 1) + content[8:],
    "99 MB of blanks": lambda content: raw_header(b"{}" + b" " * 99_000_000),
    "nothing else": lambda content: content[:8],
    "nothing": lambda content: b"",
}
