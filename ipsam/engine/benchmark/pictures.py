"""Generated photographs and masks, as files."""

from pathlib import Path

import cv2
import numpy as np

from ipsam.data.pairs import Pair
from ipsam.data.synthetic import camouflaged_scene

JPEG_QUALITY = 90
PHOTOGRAPH = (768, 1024)  # height, width; about what COD10K's images have


def write_pairs(folder: Path, count: int, size: tuple[int, int] = PHOTOGRAPH) -> list[Pair]:
    """Scenes as JPEG with their masks as PNG, below ``folder`` in ``images`` and ``masks``.

    Args:
        folder: to write to.
        count: of pairs.
        size: (height, width) of each.
    """
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    height, width = size
    pairs = []
    for index in range(count):
        rng = np.random.default_rng((0, index))
        scene = camouflaged_scene(rng, size=max(size), difficulty=0.5)
        stem = f"{index:04d}"
        pair = Pair(stem, folder / "images" / f"{stem}.jpg", folder / "masks" / f"{stem}.png")
        picture = cv2.cvtColor(scene.image[:height, :width], cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(pair.image), picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        cv2.imwrite(str(pair.mask), scene.mask[:height, :width])
        pairs.append(pair)
    return pairs
