"""Telling copies of one picture from different pictures, whatever they were saved as and at which size.

A perceptual hash (the signs of the 64 lowest frequencies about their median) finds the few candidates among millions of
pairs; a comparison of thumbnails decides.

Measured on 1,662 real images (Kvasir-SEG, CVC-ClinicDB, 20 of ETIS, 26 of COD10K, 4 of CAMO) and 400 synthetic scenes,
each with nine copies: JPEG of quality 90, 50 and 20; scaled to 25 to 170 %, by the nearest pixel or between them, and
saved again; squashed to 352 x 352. Both checks pass all 18,558 copies: those of real images with a distance of at most
4 bits and a third of the difference allowed, those of scenes, faint as they are, with up to 10 bits and 0.95 of it.
Of 2.1 million pairs of different pictures 3,874 (nearly all of one kind of colonoscopy) pass the hash and 112 the
thumbnails as well: the same picture saved twice (3 in Kvasir-SEG), and frames of one video that follow on each other (1
in Kvasir-SEG, 99 in ClinicDB, 9 in ETIS), which are copies for every purpose here. Of others, the nearest pair of
Kvasir-SEG differs by 1.7 times what is allowed, of scenes by 1.6, of COD10K and CAMO by 5.8, of different sets by 2.9.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_SIDE = 8  # frequencies in each direction
REDUCED = 32  # pixels a side that the frequencies are taken of
THUMBNAIL = 16  # pixels a side
HASH_DISTANCE = 10  # of 64 bits: the most between copies
# The most between the thumbnails of copies, root mean square in levels of 255: a little for rounding, and a tenth of
# the contrast, since what a fresh encoding changes grows with it.
LEVELS = 2.5
SHARE_OF_CONTRAST = 0.1


@dataclass(frozen=True)
class Fingerprint:
    """What a picture is recognised by: the hash, 64 bits in 8 bytes; a thumbnail, 16 x 16 RGB in 768 bytes."""

    hash: bytes
    thumbnail: bytes


def fingerprint(image: NDArray[np.uint8]) -> Fingerprint:
    """The fingerprint of an image (H, W, 3) of any size."""
    reduced = cv2.resize(image, (REDUCED, REDUCED), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(reduced, cv2.COLOR_RGB2GRAY).astype(np.float32)
    low = cv2.dct(grey)[:HASH_SIDE, :HASH_SIDE].ravel()
    bits = low > np.median(low[1:])  # the first one is the brightness alone
    thumbnail = cv2.resize(reduced, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return Fingerprint(np.packbits(bits).tobytes(), thumbnail.tobytes())


def look_alike(one: NDArray[np.float32], others: NDArray[np.float32]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Which of some thumbnails (n, p) show the same as one (p,), and by how much each differs, in levels."""
    difference = np.sqrt(((others - one) ** 2).mean(axis=1))
    contrast = (one.std() + others.std(axis=1)) / 2
    return difference <= LEVELS + SHARE_OF_CONTRAST * contrast, difference
