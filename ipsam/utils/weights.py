"""Files of weights: their SHA-256, and how a state dict differs from the one that a model needs."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipsam.utils.files import open_regular

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any  # predicting by an exported file does without torch

FLOATS = {"torch.float16", "torch.bfloat16", "torch.float32", "torch.float64"}


def sha256_of(path: Path) -> str:
    """Return the hex digest of a file."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def key_difference(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], *, most: int = 8) -> str:
    """List missing keys, unexpected keys, other shapes and other types, a line each.

    All float types count as the same type. A line names at most ``most`` keys.
    """
    common = [(key, found[key], wanted[key]) for key in sorted(wanted.keys() & found.keys())]
    differences = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": [f"{key!r:.99}"[1:-1] for key in sorted(found.keys() - wanted.keys())],  # as the file spells it
        "of another shape": [
            f"{key} {tuple(one.shape)!s:.99} instead of {tuple(other.shape)}"
            for key, one, other in common
            if one.shape != other.shape
        ],
        "of another type": [
            f"{key} {one.dtype} instead of {other.dtype}"
            for key, one, other in common
            if one.dtype != other.dtype and not {str(one.dtype), str(other.dtype)} <= FLOATS
        ],
    }
    lines = []
    for title, keys in differences.items():
        more = f" ... and {len(keys) - most} more" if len(keys) > most else ""
        if keys:
            lines.append(f"  {len(keys)} {title}: {', '.join(keys[:most])}{more}")
    return "\n".join(lines)
