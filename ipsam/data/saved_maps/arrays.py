"""Maps that NumPy saved: ``.npy``, and ``.npz`` with a single array. Nothing in a file is unpickled."""

import math
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ipsam.data.decoding.limits import MAX_PIXELS, check_size, reason
from ipsam.data.files import hxw

MAX_BYTES = 8 * MAX_PIXELS + (1 << 16)  # of an array of float64 with its header


def decode_array(content: bytes, path: Path) -> NDArray[Any]:
    """Decode the array (H, W), or with a further axis of length 1, of a file's content.

    Raises:
        ValueError: the content is broken, too large, no array of numbers, or holds several; it names ``path``.
    """
    try:
        array = _array(content if path.suffix.lower() == ".npy" else _unpacked(content))
    except Exception as error:  # of zipfile, zlib, tokenize and ast, too
        raise ValueError(
            f"{path}: not a map saved by NumPy ({reason(error)}); save one array of numbers (height, width) with "
            "numpy.save or numpy.savez"
        ) from error
    squeezed = array.squeeze(tuple(axis for axis in (0, -1) if array.ndim == 3 and array.shape[axis] == 1)[:1])
    if squeezed.ndim != 2 or not squeezed.size:
        raise ValueError(f"{path}: an array of the shape {hxw(array.shape)}; a map has a height and a width")
    check_size(squeezed.shape[0], squeezed.shape[1], path)
    return squeezed


def _unpacked(content: bytes) -> bytes:
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) != 1:
            raise ValueError(f"it holds {len(members)} arrays, not one")
        if members[0].file_size > MAX_BYTES:
            raise ValueError(f"it unpacks to {members[0].file_size:,} bytes")
        return archive.read(members[0])


def _array(content: bytes) -> NDArray[Any]:
    """Read an array whose header tells no more than the content holds: NumPy allocates before it reads."""
    file, npy = BytesIO(content), cast(Any, np.lib.format)  # without types
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(npy.read_magic(file))
    if read_header is None:
        raise ValueError("an unknown version of the format")
    shape, is_fortran, dtype = read_header(file)
    if dtype.kind not in "bufi":
        raise ValueError(f"values of type {dtype}")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"{len(content) - file.tell():,} bytes for an array of {hxw(shape)} values of type {dtype}")
    array = np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if is_fortran else "C")
    return np.asarray(array, dtype.newbyteorder("="))
