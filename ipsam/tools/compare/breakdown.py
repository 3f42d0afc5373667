"""Scores of groups of images: by size, number, contrast and position of the objects, and by COD10K's classes."""

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.images import read_image, read_mask
from ipsam.data.saved_maps.map_pairs import SavedMap
from ipsam.engine.evaluate.scores import Evaluation
from ipsam.tools.compare.significance import averaged, table
from ipsam.utils.worker_pool import WorkerPool

SIDE = 256  # pixels, the longer side at which the contrast is measured
RING = 8  # pixels at that size, the width of an object's surroundings
SPECK = 0.01  # share of the foreground below which a component is not counted as an object
COD10K = re.compile(r"COD10K-(?:Non)?CAM-\d+-(?P<superclass>[^-]+)-\d+-(?P<subclass>[^-]+)-\d+")
CHUNK, AHEAD = 4, 8  # images sent to a worker at once, and drawn ahead for each worker

# Heading of each way to group, and the groups' upper limits (exclusive) with their names.
HEADINGS = {
    "size": "share of the image that the objects cover",
    "objects": "number of objects",
    "contrast": "contrast to the surroundings, ΔE in CIELAB",
    "border": "objects and the image's border",
    "superclass": "super-class",
    "subclass": "sub-class",
}
LIMITS: dict[str, list[tuple[float, str]]] = {
    "size": [(0.01, "under 1%"), (0.05, "1 to 5%"), (0.15, "5 to 15%"), (0.3, "15 to 30%"), (math.inf, "over 30%")],
    "objects": [(1, "none"), (2, "1"), (3, "2"), (math.inf, "3 or more")],
    "contrast": [(5, "under 5"), (10, "5 to 10"), (20, "10 to 20"), (math.inf, "over 20")],
    "border": [(1, "inside"), (math.inf, "touching")],
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Traits:
    """Properties of one image and its mask.

    Attributes:
        size: share of the pixels that are foreground.
        objects: number of 8-connected components that hold at least ``SPECK`` of the foreground.
        border: 1 if the foreground touches the image's border, else 0.
        contrast: distance ΔE between the mean CIELAB colours of the foreground and of a ring around it; None without
            an image, a foreground or a ring.
        superclass, subclass: in the name of a COD10K image; else None.
    """

    size: float
    objects: int
    border: int
    contrast: float | None
    superclass: str | None = None
    subclass: str | None = None

    @classmethod
    def of(cls, saved: SavedMap) -> "Traits":
        """Measure an image; one that cannot be read is logged and has no contrast.

        Raises:
            ValueError, FileNotFoundError: the mask cannot be read.
        """
        mask, image = read_mask(saved.mask, saved.above), None
        try:
            image = None if saved.image is None else read_image(saved.image, at_least=SIDE)
        except (ValueError, FileNotFoundError) as error:
            logger.warning("no contrast of an image: %s", error)
        areas = cv2.connectedComponentsWithStats(mask, connectivity=8)[2][1:, cv2.CC_STAT_AREA]
        edges = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
        classes = COD10K.fullmatch(saved.stem)
        return cls(
            size=float(areas.sum()) / mask.size,
            objects=int((areas >= SPECK * areas.sum()).sum()),
            border=int(any(edge.any() for edge in edges)),
            contrast=None if image is None else contrast(image, mask),
            **(classes.groupdict() if classes else {}),
        )

    def group(self, by: str) -> str | None:
        """Return the group that the image belongs to; None if its property is unknown."""
        value = getattr(self, by)
        if value is None or by not in LIMITS:
            return value if value is None or by != "subclass" else f"{self.superclass}: {value}"
        return next(name for limit, name in LIMITS[by] if value < limit)


def contrast(image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> float | None:
    """Return the distance ΔE (CIE 1976) between the mean colours of the foreground and of a ring around it.

    Args:
        image: (H, W, 3) RGB, of any size.
        mask: (h, w) of 0 and 255.

    Returns:
        None without a foreground or a ring.
    """
    scale = min(1.0, SIDE / max(mask.shape))
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    inside = (cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 127).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RING + 1, 2 * RING + 1))
    ring = cv2.dilate(inside, kernel) - inside
    if not inside.any() or not ring.any():
        return None
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    return float(np.linalg.norm(lab[inside > 0].mean(0) - lab[ring > 0].mean(0)))


def measure_traits(maps: Sequence[SavedMap], num_workers: int) -> dict[str, Traits]:
    """Measure each image of a dataset, by name."""
    results: Iterator[Traits] = map(Traits.of, maps)
    if num_workers:
        pool = WorkerPool(Traits.of, num_workers=num_workers, chunk=CHUNK, ahead=AHEAD * num_workers)
        results = pool.map(maps)
    return dict(zip((one.stem for one in maps), results, strict=True))


def group_rows(
    dataset: str, traits: Mapping[str, Traits], methods: Mapping[str, Evaluation]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of ``breakdown.csv``: each method's means over the images of each group, groups in their order."""
    for by in HEADINGS:
        group_of = {name: one.group(by) for name, one in traits.items()}
        order = [name for _, name in LIMITS.get(by, [])] or sorted({group for group in group_of.values() if group})
        scored = {method: one.images[dataset] for method, one in methods.items() if dataset in one.images}
        belongs = {method: np.array([group_of[name] for name in images.names]) for method, images in scored.items()}
        tables = {method: table(images, averaged(images)) for method, images in scored.items()}
        for group in order:
            for method, scores in tables.items():
                chosen = scores[belongs[method] == group]
                if len(chosen):
                    row = {"method": method, "dataset": dataset, "by": by, "group": group, "images": len(chosen)}
                    yield row | dict(zip(averaged(scored[method]), chosen.mean(0).tolist(), strict=True))
