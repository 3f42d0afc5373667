"""Finding, among many fingerprints, the pictures that are copies of one another."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ipsam.tools.prepare.doctor.fingerprint import HASH_DISTANCE, Fingerprint, look_alike

BLOCK = 256  # pictures compared with all others at a time: of 10,000 others a matrix of 10 MB
NUM_CANDIDATES = 32  # nearest hashes whose thumbnails are looked at, so that 10,000 black pictures take no time either


def copies(pictures: Sequence[Fingerprint], others: Sequence[Fingerprint]) -> Iterator[tuple[int, list[int]]]:
    """Each picture that is among the others too, by its index, with the indices of those: the most like it first."""
    yield from _copies(pictures, others, earlier=False)


def repetitions(pictures: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Each picture that one before it shows already, by its index, with that of the earlier one most like it."""
    for index, others in _copies(pictures, pictures, earlier=True):
        yield index, others[0]


def _copies(
    pictures: Sequence[Fingerprint], others: Sequence[Fingerprint], *, earlier: bool
) -> Iterator[tuple[int, list[int]]]:
    if not pictures or not others:
        return
    signs, signs_of_others = _signs(pictures), _signs(others)
    num_bits = signs.shape[1]
    for start in range(0, len(pictures), BLOCK):
        distances = (num_bits - signs[start : start + BLOCK] @ signs_of_others.T) / 2  # (block, others), in bits
        if earlier:
            distances[np.arange(len(others)) >= start + np.arange(len(distances))[:, None]] = num_bits
        for row in np.flatnonzero((distances <= HASH_DISTANCE).any(axis=1)).tolist():
            near = np.flatnonzero(distances[row] <= HASH_DISTANCE)
            near = near[np.argsort(distances[row, near], kind="stable")[:NUM_CANDIDATES]]
            alike, difference = look_alike(
                _thumbnails([pictures[start + row]])[0], _thumbnails([others[index] for index in near])
            )
            if alike.any():
                by_likeness = np.argsort(difference[alike], kind="stable")
                yield start + row, near[alike][by_likeness].tolist()


def _signs(pictures: Sequence[Fingerprint]) -> NDArray[np.float32]:
    """The bits of the hashes as +1 and -1, (n, 64): a product of two then tells how many are equal."""
    hashes = np.frombuffer(b"".join(picture.hash for picture in pictures), np.uint8).reshape(len(pictures), -1)
    return np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1


def _thumbnails(pictures: Sequence[Fingerprint]) -> NDArray[np.float32]:
    values = np.frombuffer(b"".join(picture.thumbnail for picture in pictures), np.uint8)
    return values.reshape(len(pictures), -1).astype(np.float32)
