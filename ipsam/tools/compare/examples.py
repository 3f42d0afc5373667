"""Pictures of single images: the best and worst of a method, and those on which two methods differ most."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.images import read_image
from ipsam.data.saved_maps.map_pairs import SavedMap
from ipsam.engine.evaluate.scores import Scored, ScoreRow, ranking
from ipsam.engine.metrics import Protocol
from ipsam.tools.compare.significance import paired

SIDE, PAIR_SIDE = 160, 320  # pixels, the longer side of a picture in the table, and of one beside another
FALSE_POSITIVE, MISSED = (213, 94, 0), (0, 114, 178)  # orange and blue: distinct under every colour blindness
OBJECT, BACKGROUND = 200, 255  # grey levels of correct pixels in the error picture
JPEG_QUALITY = 80

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One image's rank (1 is the best), scores and pictures, each the content of a JPEG or PNG file."""

    name: str
    rank: int
    scores: Mapping[str, float]
    image: bytes | None
    truth: bytes
    map: bytes
    error: bytes


@dataclass(frozen=True)
class Rivalry:
    """One image with the maps and the S-measures of several methods; pictures as in ``Example``."""

    name: str
    image: bytes | None
    truth: bytes
    maps: Mapping[str, bytes]
    scores: Mapping[str, float]


def choose(scores: Sequence[float], num: int) -> list[tuple[int, int]]:
    """Return (rank, index) of the ``num`` best and ``num`` worst S-measures, worst first and each once."""
    ranked = ranking(scores, "sm")
    ranks = range(len(ranked)) if len(ranked) <= 2 * num else [*range(num), *range(len(ranked) - num, len(ranked))]
    return [(rank + 1, ranked[rank]) for rank in reversed(ranks)]


def draw_examples(rows: Scored, maps: Sequence[SavedMap], num: int, protocol: Protocol) -> list[Example]:
    """Draw the best and worst images of one dataset, see ``choose``; ``rows`` and ``maps`` have the same order."""
    return [_example(rows[index], maps[index], rank, protocol) for rank, index in choose(rows.of("sm"), num)]


def error_picture(prediction: NDArray[np.floating], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw the difference as RGB (h, w, 3): false positives orange, misses blue, detected object grey.

    Args:
        prediction: (h, w) in [0, 1].
        mask: (h, w) of 0 and 255.
    """
    truth = mask[..., None] > 0
    error = np.abs(prediction[..., None] - truth)
    right = np.where(truth, OBJECT, BACKGROUND)
    wrong = np.where(truth, MISSED, FALSE_POSITIVE)
    picture: NDArray[np.uint8] = np.rint(right * (1 - error) + wrong * error).astype(np.uint8)
    return picture


def draw_rivalries(
    images: Mapping[str, Scored],
    maps: Mapping[str, Sequence[SavedMap]],
    reference: str,
    num: int,
    protocol: Protocol,
) -> list[Rivalry]:
    """Draw, for each method, the ``num`` images whose S-measure differs most from the reference's, each image once.

    Args:
        images, maps: scores and maps on one dataset by method, in the same order.
        reference: one of the methods.
        num: number of images for each other method.
        protocol: rules by which the maps are shown as they are scored.
    """
    names: dict[str, None] = {}
    for method in images:
        common, values = paired(images[method], images[reference], ["sm"])
        gaps = np.nan_to_num(np.abs(values[:, 0]))
        names |= dict.fromkeys(common[index] for index in np.argsort(-gaps, kind="stable")[:num] if gaps[index] > 0)
    scores = {method: dict(zip(one.names, one.of("sm"), strict=True)) for method, one in images.items()}
    files = {method: {saved.stem: saved for saved in maps[method]} for method in images}
    drawn = []
    for name in names:
        of_methods = {method: found[name] for method, found in files.items() if name in found}
        prepared = {method: _prepared(saved, protocol) for method, saved in of_methods.items()}
        mask = next(iter(prepared.values()))[1]
        drawn.append(
            Rivalry(
                name,
                _photograph(next(iter(of_methods.values())), PAIR_SIDE),
                _encode(mask, ".png", PAIR_SIDE),
                {method: _encode(_grey(values), ".jpg", PAIR_SIDE) for method, (values, _) in prepared.items()},
                {method: scores[method][name] for method in prepared},
            )
        )
    return drawn


def _example(row: ScoreRow, saved: SavedMap, rank: int, protocol: Protocol) -> Example:
    values, mask = _prepared(saved, protocol)
    return Example(
        saved.stem,
        rank,
        {metric: float(score) for metric, score in row.items() if not isinstance(score, str)},
        _photograph(saved),
        _encode(mask, ".png"),
        _encode(_grey(values), ".jpg"),
        _encode(error_picture(values, mask), ".jpg"),
    )


def _prepared(saved: SavedMap, protocol: Protocol) -> tuple[NDArray[np.floating], NDArray[np.uint8]]:
    """Read a map (h, w) as it is scored, in [0, 1], and its mask."""
    _, prediction, mask = saved()
    prediction, mask = protocol.prepare(prediction, mask)
    values = prediction / 255 if prediction.dtype == np.uint8 else prediction.astype(np.float64)
    if protocol.min_max and values.max() > values.min():
        values = (values - values.min()) / (values.max() - values.min())
    return values, mask


def _grey(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
    return grey


def _photograph(saved: SavedMap, side: int = SIDE) -> bytes | None:
    """Encode the image, which is only shown: an unreadable one is logged and left out."""
    if saved.image is None:
        return None
    try:
        return _encode(read_image(saved.image), ".jpg", side)
    except (ValueError, FileNotFoundError) as error:
        logger.warning("no picture of an image: %s", error)
        return None


def _encode(picture: NDArray[np.uint8], suffix: str, side: int = SIDE) -> bytes:
    """Shrink a grey or RGB picture to at most ``side`` pixels and encode it."""
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else []
    encoded, content = cv2.imencode(suffix, small[..., ::-1] if small.ndim == 3 else small, options)
    if not encoded:
        raise OSError(f"could not encode a picture as {suffix}")
    return bytes(content)
