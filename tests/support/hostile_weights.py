"""Broken and hostile safetensors files, made of a good one."""

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors.torch
import torch

KINDS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
NAME = "decoder.iou_token.weight"  # a tensor (1, 64)
HUGE = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}


def read_weights(content: bytes) -> dict[str, np.ndarray]:
    """Read a safetensors file of floats by its specification alone."""
    header, data = _parts(content)
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], KINDS[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _with_header(header: bytes, data: bytes = b"") -> bytes:
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def _header(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def changed(content: bytes) -> bytes:
        header, data = _parts(content)
        change(header)
        return _with_header(json.dumps(header).encode(), data)

    return changed


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[bytes], bytes]:
    """Change the tensors of a file."""

    def changed(content: bytes) -> bytes:
        held = safetensors.torch.load(content)
        change(held)
        return safetensors.torch.save(held, metadata={"base_sha256": ""})

    return changed


def _own(value: Callable[[torch.Tensor], torch.Tensor] | torch.Tensor) -> Callable[[bytes], bytes]:
    return tensors(lambda held: held.update({NAME: value(held[NAME]) if callable(value) else value}))


def _spoilt(value: float) -> Callable[[bytes], bytes]:
    return tensors(lambda held: held[NAME].view(-1).__setitem__(7, value))


def cast(dtype: torch.dtype) -> Callable[[bytes], bytes]:
    """Convert all tensors."""
    return tensors(lambda held: held.update({name: tensor.to(dtype) for name, tensor in held.items()}))


# All are refused.
WEIGHTS_FILES: dict[str, Callable[[bytes], bytes]] = {
    "renamed": tensors(lambda held: held.update({"decoder.token": held.pop(NAME)})),
    "missing": tensors(lambda held: held.pop(NAME)),
    "one more": tensors(lambda held: held.update(extra=torch.zeros(3))),
    "a name of 100,000 letters": tensors(lambda held: held.update({"x" * 100_000: torch.zeros(3)})),
    "a name that clears the screen": tensors(lambda held: held.update({"\x1b[2J\n" * 9: torch.zeros(3)})),
    "10,000 more": tensors(lambda held: held.update({f"extra{index}": torch.zeros(1) for index in range(10_000)})),
    "transposed": _own(lambda tensor: tensor.T.contiguous()),
    "larger": _own(torch.zeros(2, 64)),
    "a single number": _own(torch.tensor(1.0)),
    "200 dimensions": _own(torch.zeros([1] * 200)),
    **{
        str(dtype): _own(torch.ones(1, 64).to(dtype))
        for dtype in (torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn)
    },
    **{f"one {value}": _spoilt(float(value)) for value in ("nan", "inf", "-inf")},
    "claims 4 TB": _header(lambda header: header.update(extra=HUGE)),
    "claims 4 TB for a known name": _header(lambda header: header.update({NAME: HUGE})),
    "claims 2**64 numbers": _header(lambda header: header[NAME].update(shape=[1 << 62, 1 << 62])),
    "two names for the same bytes": _header(lambda header: header.update(extra=header[NAME])),
    "offsets backwards": _header(lambda header: header[NAME]["data_offsets"].reverse()),
    "a negative size": _header(lambda header: header[NAME].update(shape=[-1, 64])),
    "an unknown type": _header(lambda header: header[NAME].update(dtype="F31")),
    "another base": _header(lambda header: header.update(__metadata__={"base_sha256": "\x1b[2J" * 5000})),
    "deeply nested": lambda content: _with_header(b'{"a":' + b"[" * 1_000_000),
    "no JSON": lambda content: _with_header(b"\xff" * 64),
    "a header longer than the file": lambda content: struct.pack("<Q", 1 << 30) + content[8:],
    "a header of 2**64 bytes": lambda content: struct.pack("<Q", (1 << 64) - 1) + content[8:],
    "99 MB of blanks": lambda content: _with_header(b"{}" + b" " * 99_000_000),
    "an empty file": lambda content: b"",
}
