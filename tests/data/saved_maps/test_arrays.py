"""Maps that NumPy saved, and what a broken or hostile file of that kind says."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ipsam.data.saved_maps.maps import read_map

VALUES = np.linspace(0, 1, 12).reshape(3, 4)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (VALUES, VALUES.astype(np.float32)),
        (np.asfortranarray(VALUES.astype(np.float16))[None], VALUES.astype(np.float16).astype(np.float32)),
        ((VALUES * 255).astype(np.uint8)[..., None], (VALUES * 255).astype(np.uint8)),
        (VALUES > 0.5, (VALUES > 0.5).astype(np.uint8) * 255),
        ((VALUES * 65535).astype(">u2"), ((VALUES * 65535).astype(np.uint16) / 65535).astype(np.float32)),
    ],
    ids=["float64", "columns first", "uint8", "bool", "big endian"],
)
@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_arrays_are_read(name: str, array: np.ndarray, expected: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / name, array) if name.endswith("npy") else np.savez_compressed(tmp_path / name, array)
    found = read_map(tmp_path / name)
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def saved(array: np.ndarray, *, pickled: bool = False) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=pickled)
    return content.getvalue()


def zipped(*names: str, claims: bytes = b"") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, saved(VALUES))
    size = len(saved(VALUES)).to_bytes(4, "little")
    return content.getvalue().replace(size, claims or size)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"no array", "not a map saved by NumPy .*; save one array"),
        ("a.npy", b"\x93NUMPY\x01\x00\xe8\x03" + b"(" * 1000, "not a map saved by NumPy"),
        ("a.npy", saved(VALUES)[:-8], "88 bytes for an array of 3x4 values of type float64"),
        ("a.npy", saved(VALUES).replace(b"(3, 4)", b"(3, 4000000000)", 1), "not a map saved by NumPy"),
        ("a.npy", saved(np.array([[{}]], object), pickled=True), "values of type object"),
        ("a.npy", saved(VALUES[0]), "an array of the shape 4; a map has a height and a width"),
        ("a.npy", saved(VALUES * 2), "float values from 0 to 2; a map of floats holds probabilities"),
        ("a.npy", saved((VALUES * 9).astype(np.int32)), "a map of type int32"),
        ("a.npz", zipped("a.npy", "b.npy"), "it holds 2 arrays, not one"),
        ("a.npz", zipped("a.npy", claims=b"\0\0\0\x70"), "it unpacks to 1,879,048,192 bytes"),
        ("a.npz", zipped("a.npy")[:60], "not a map saved by NumPy"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,  # an archive holds the time of its making
)
def test_other_files_are_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
        read_map(tmp_path / name)
