"""Find copies of one image, whatever their file format and size.

A perceptual hash (signs of the 64 lowest DCT frequencies about their median) selects candidates among millions of
pairs; a comparison of thumbnails decides.

Measured on 1,662 real images (Kvasir-SEG, CVC-ClinicDB, ETIS, COD10K, CAMO) and 400 synthetic scenes with nine copies
each (JPEG quality 90, 50, 20; 25 to 170 % of the size, with and without interpolation; squashed to 352 x 352): all
18,558 copies are found. Among 2.1 million pairs of different images, 112 pass: images saved twice and adjacent frames
of one video. The nearest other pair differs by 1.6 times the allowed amount.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 8  # frequencies in each direction
REDUCED = 32  # pixels a side of the input of the DCT
THUMBNAIL = 16  # pixels a side
HASH_DISTANCE = 10  # of 64 bits: the maximum between copies
# Maximum RMS difference between thumbnails of copies, in levels of 255: a constant for rounding, and a share of the
# contrast, with which the error of a new encoding grows.
LEVELS = 2.5
SHARE_OF_CONTRAST = 0.1
BLOCK = 256  # images compared with all others at a time: 10 MB for 10,000 others
NUM_CANDIDATES = 32  # nearest hashes whose thumbnails are compared; keeps thousands of black images fast


@dataclass(frozen=True)
class ImageHash:
    """Perceptual hash of an image (64 bits in 8 bytes) and its thumbnail (16 x 16 RGB in 768 bytes)."""

    bits: bytes
    thumbnail: bytes


def image_hash(image: NDArray[np.uint8]) -> ImageHash:
    """Hash an image (H, W, 3) of any size."""
    reduced = cv2.resize(image, (REDUCED, REDUCED), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(reduced, cv2.COLOR_RGB2GRAY).astype(np.float32)
    low = cv2.dct(grey)[:HASH_SIDE, :HASH_SIDE].ravel()
    bits = low > np.median(low[1:])  # without the mean brightness, low[0]
    thumbnail = cv2.resize(reduced, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return ImageHash(np.packbits(bits).tobytes(), thumbnail.tobytes())


def find_copies(images: Sequence[ImageHash], others: Sequence[ImageHash]) -> Iterator[tuple[int, list[int]]]:
    """Yield the index of each image with copies among the others, and the copies' indices, most similar first."""
    yield from _copies(images, others, earlier=False)


def find_repetitions(images: Sequence[ImageHash]) -> Iterator[tuple[int, int]]:
    """Yield the index of each image with an earlier copy, and the index of the most similar one."""
    for index, others in _copies(images, images, earlier=True):
        yield index, others[0]


def _copies(
    images: Sequence[ImageHash], others: Sequence[ImageHash], *, earlier: bool
) -> Iterator[tuple[int, list[int]]]:
    if not images or not others:
        return
    signs, signs_of_others = _signs(images), _signs(others)
    num_bits = signs.shape[1]
    for start in range(0, len(images), BLOCK):
        distances = (num_bits - signs[start : start + BLOCK] @ signs_of_others.T) / 2  # (block, others), in bits
        if earlier:
            distances[np.arange(len(others)) >= start + np.arange(len(distances))[:, None]] = num_bits
        for row in np.flatnonzero((distances <= HASH_DISTANCE).any(axis=1)).tolist():
            near = np.flatnonzero(distances[row] <= HASH_DISTANCE)
            near = near[np.argsort(distances[row, near], kind="stable")[:NUM_CANDIDATES]]
            (image,), candidates = _thumbnails([images[start + row]]), _thumbnails([others[index] for index in near])
            difference = np.sqrt(((candidates - image) ** 2).mean(axis=1))
            contrast = (image.std() + candidates.std(axis=1)) / 2
            alike = difference <= LEVELS + SHARE_OF_CONTRAST * contrast
            if alike.any():
                yield start + row, near[alike][np.argsort(difference[alike], kind="stable")].tolist()


def _signs(images: Sequence[ImageHash]) -> NDArray[np.float32]:
    """Unpack hashes to +1 and -1, (n, 64), so that a matrix product counts equal bits."""
    hashes = np.frombuffer(b"".join(image.bits for image in images), np.uint8).reshape(len(images), -1)
    return np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1


def _thumbnails(images: Sequence[ImageHash]) -> NDArray[np.float32]:
    values = np.frombuffer(b"".join(image.thumbnail for image in images), np.uint8)
    return values.reshape(len(images), -1).astype(np.float32)
