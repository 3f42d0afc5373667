"""The images that a method does best and worst on, as pictures: image, truth, map and error."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.images import read_image
from ipsam.data.saved_maps.map_pairs import SavedMap
from ipsam.engine.evaluate.scores import ranking
from ipsam.engine.metrics import Protocol

SIDE = 160  # pixels, the longer side of a picture
FALSE_POSITIVE, MISSED = (213, 94, 0), (0, 114, 178)  # orange and blue, told apart with any kind of colour vision
OBJECT, BACKGROUND = 200, 255  # grey of what is right in the picture of errors
QUALITY = 80  # of JPEG

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """One image's scores and its pictures, JPEG or PNG files by their content; ``rank`` 1 is the best."""

    name: str
    rank: int
    scores: Mapping[str, float]
    image: bytes | None
    truth: bytes
    map: bytes
    error: bytes


def choose(rows: Sequence[Mapping[str, str | float]], num: int, by: str = "sm") -> list[tuple[int, int]]:
    """Rank and index of the ``num`` best and the ``num`` worst rows by a score, the worst first; each at most once."""
    ranked = list(enumerate(ranking([float(row[by]) for row in rows], by), start=1))
    chosen = ranked if len(ranked) <= 2 * num else [*ranked[:num], *ranked[len(ranked) - num :]]
    return chosen[::-1]


def draw_cases(
    rows: Sequence[Mapping[str, str | float]], maps: Sequence[SavedMap], num: int, protocol: Protocol
) -> list[Case]:
    """The best and worst cases of one dataset, see ``choose``; the rows are those of the maps, in the same order."""
    return [_case(rows[index], maps[index], rank, protocol) for rank, index in choose(rows, num)]


def error_picture(prediction: NDArray[np.floating], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB (h, w, 3) of the difference: false positives orange, misses blue, an object that was found grey.

    Args:
        prediction: (h, w) in [0, 1].
        mask: (h, w) of 0 and 255.
    """
    truth = mask > 0
    error = np.abs(prediction - truth)[..., None]
    right = np.where(truth, OBJECT, BACKGROUND)[..., None]
    wrong = np.where(truth[..., None], MISSED, FALSE_POSITIVE)
    picture: NDArray[np.uint8] = np.rint(right * (1 - error) + wrong * error).astype(np.uint8)
    return picture


def _case(row: Mapping[str, str | float], saved: SavedMap, rank: int, protocol: Protocol) -> Case:
    name, prediction, mask = saved()
    prediction, mask = protocol.prepare(prediction, mask)
    values = prediction / 255 if prediction.dtype == np.uint8 else prediction.astype(np.float64)
    if protocol.min_max and values.max() > values.min():
        values = (values - values.min()) / (values.max() - values.min())
    return Case(
        name,
        rank,
        {metric: float(score) for metric, score in row.items() if not isinstance(score, str)},
        _photograph(saved),
        _encoded(mask, ".png"),
        _encoded(np.rint(values * 255).astype(np.uint8), ".jpg"),
        _encoded(error_picture(values, mask), ".jpg"),
    )


def _photograph(saved: SavedMap) -> bytes | None:
    """The image, which is shown only: one that can't be read is no reason to lose the scores."""
    if saved.image is None:
        return None
    try:
        return _encoded(read_image(saved.image), ".jpg")
    except (ValueError, FileNotFoundError) as error:
        logger.warning("no picture of an image: %s", error)
        return None


def _encoded(picture: NDArray[np.uint8], suffix: str) -> bytes:
    """A picture made small enough, as the content of a file; colours are RGB."""
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if suffix == ".jpg" else []
    done, content = cv2.imencode(suffix, small[..., ::-1] if small.ndim == 3 else small, options)
    if not done:
        raise OSError(f"could not encode a picture as {suffix}")
    return bytes(content)
