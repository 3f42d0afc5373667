"""Answers to images: decoded, predicted and encoded in batches."""

import base64
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ipsam.data.items import Encoded
from ipsam.data.user_images import read_upload
from ipsam.engine.inference.base import BasePredictor
from ipsam.engine.inference.prediction import PNG_LEVEL, Prediction

Format = Literal["png", "json", "rle"]
Kind = Literal["map", "mask", "overlay", "cutout"]
MEDIA = {"png": "image/png", "json": "application/json", "rle": "application/json"}


@dataclass(frozen=True)
class Received(Encoded):
    """Body of a request; its name in messages is ``image``."""

    body: bytes

    def content(self) -> bytes:
        """Return the body."""
        return self.body


@dataclass(frozen=True)
class Asked:
    """Image of a request, and the answer that is asked for."""

    body: bytes
    format: Format = "png"
    kind: Kind = "mask"
    threshold: float = 0.5


class Answers:
    """Calls that answer a batch of images with one forward pass; an image's error is its answer.

    Args:
        predictor: the model; one call at a time uses it.
        max_pixels: of an image.
        num_threads: threads that decode and encode.
    """

    def __init__(self, predictor: BasePredictor, *, max_pixels: int, num_threads: int) -> None:
        self.predictor = predictor
        self.max_pixels = max_pixels
        self.pool = ThreadPoolExecutor(num_threads, thread_name_prefix="pictures")

    def __call__(self, batch: Sequence[Asked]) -> list[bytes | Exception]:
        """Answer a batch, in its order."""
        images = self._each(self._decoded, batch)
        readable = [index for index, image in enumerate(images) if not isinstance(image, Exception)]
        answers: list[Any] = list(images)
        if readable:
            predictions = self.predictor.predict([images[index] for index in readable], batch_size=len(readable))
            encoded = self._each(_encoded, predictions, [batch[index] for index in readable])
            for index, answer in zip(readable, encoded, strict=True):
                answers[index] = answer
        return answers

    def _decoded(self, asked: Asked) -> NDArray[np.uint8]:
        return read_upload(Received(Path("image"), body=asked.body), max_pixels=self.max_pixels)

    def _each(self, call: Callable[..., Any], *arguments: Sequence[Any]) -> list[Any]:
        """Call with each set of arguments in the pool; a ValueError takes the place of a result."""

        def result_or_error(*values: Any) -> Any:
            try:
                return call(*values)
            except ValueError as error:
                return error

        return list(self.pool.map(result_or_error, *arguments))


def _encoded(prediction: Prediction, asked: Asked) -> bytes:
    drawn = prediction.drawn_with(threshold=asked.threshold)
    if asked.format == "png":
        return _png(drawn, asked.kind)
    height, width = drawn.prob.shape
    answer: dict[str, Any] = {"width": width, "height": height, "threshold": asked.threshold, "remark": drawn.remark}
    if asked.format == "rle":
        found = drawn.as_coco("image")["annotations"]
        empty = {"score": 0.0, "area": 0, "bbox": [0, 0, 0, 0], "segmentation": None}
        answer |= {name: found[0][name] if found else value for name, value in empty.items()}
    else:
        answer |= {"area": int(drawn.mask.sum()), asked.kind: base64.b64encode(_png(drawn, asked.kind)).decode()}
    return json.dumps(answer).encode()


def _png(prediction: Prediction, kind: Kind) -> bytes:
    content = io.BytesIO()
    prediction.picture(kind).save(content, "PNG", compress_level=PNG_LEVEL)
    return content.getvalue()
