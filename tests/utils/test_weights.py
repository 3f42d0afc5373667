"""Checksums of weight files and differences of state dicts."""

import hashlib
from pathlib import Path

import torch

from ipsam.utils.weights import key_difference, sha256_of


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    content = b"a" * (3 << 20)
    (tmp_path / "weights").write_bytes(content)
    assert sha256_of(tmp_path / "weights") == hashlib.sha256(content).hexdigest()


def test_key_difference_lists_each_kind() -> None:
    wanted = {"gone": torch.zeros(1), "shape": torch.zeros(2, 3), "type": torch.zeros(1), "float": torch.zeros(1)}
    found = {"new": torch.zeros(1), "shape": torch.zeros(3, 2), "type": torch.zeros(1, dtype=torch.int)}
    found["float"] = torch.zeros(1, dtype=torch.bfloat16)
    assert key_difference(wanted, found).splitlines() == [
        "  1 missing: gone",
        "  1 unexpected: new",
        "  1 of another shape: shape (3, 2) instead of (2, 3)",
        "  1 of another type: type torch.int32 instead of torch.float32",
    ]
    assert key_difference(wanted, wanted) == ""
    five = {f"key{i}": torch.zeros(1) for i in range(5)}
    assert key_difference(five, {}, most=2) == "  5 missing: key0, key1 ... and 3 more"
