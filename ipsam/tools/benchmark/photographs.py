"""Generated photographs and masks, as files."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ipsam.data.pairs import Pair
from ipsam.data.synthetic.scenes import camouflaged_scene

PHOTOGRAPH = (768, 1024)  # height, width; about what COD10K's images have
PNG_LEVEL = 6  # of zlib: Pillow's and most programs' own


def write_pairs(folder: Path, sizes: Sequence[tuple[int, int]], *, quality: int = 90, grain: float = 0.0) -> list[Pair]:
    """Scenes as JPEG with their masks as PNG, below ``folder`` in ``images`` and ``masks``.

    Args:
        folder: to write to.
        sizes: (height, width) of each.
        quality: of the JPEGs.
        grain: standard deviation of the noise that a camera would add, of 255.
    """
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    pairs = []
    for index, (height, width) in enumerate(sizes):
        rng = np.random.default_rng((0, index))
        scene = camouflaged_scene(rng, size=max(height, width), difficulty=0.5)
        image, mask = (one[:height, :width] for one in (scene.image, scene.mask))
        if grain:
            image = (image + rng.normal(0, grain, image.shape)).clip(0, 255).astype(np.uint8)
        stem = f"{index:04d}"
        pair = Pair(stem, folder / "images" / f"{stem}.jpg", folder / "masks" / f"{stem}.png")
        cv2.imwrite(str(pair.image), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
        cv2.imwrite(str(pair.mask), mask, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
        pairs.append(pair)
    return pairs
