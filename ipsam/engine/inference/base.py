"""Streaming of predictions, whatever computes them: read images, batch them, yield predictions one batch late."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from typing_extensions import TypeIs

from ipsam.data.user_images import ImageLike, is_tensor, to_rgb
from ipsam.engine.inference.options import PredictionOptions
from ipsam.engine.inference.prediction import Prediction
from ipsam.engine.inference.zoom import look_again
from ipsam.utils.async_copy import one_ahead

# One image rather than a sequence; cv2.imread returns None for a file that is not there. A tensor is another.
SINGLE = (str, Path, Image.Image, np.ndarray, NoneType)


class BasePredictor(ABC):
    """A model that predicts for any images; subclasses say by what, see ``_begin``.

    Attributes:
        image_size: side of the square network input, in pixels.
        letterbox: keep the images' aspect ratio and pad them, as in training, see ``Placement``.
        source: the folder or file that the weights came from.
        options: defaults of every prediction.
        device_type: where it computes, such as ``cpu``.
        bf16: whether it computes in bf16.
    """

    device_type: str
    bf16: bool

    def __init__(self, *, image_size: int, letterbox: bool, source: Path | None, options: PredictionOptions) -> None:
        self.image_size = image_size
        self.letterbox = letterbox
        self.source = source
        self.options = options

    @abstractmethod
    def _begin(self, images: Sequence[NDArray[np.uint8]], options: PredictionOptions) -> Callable[[], list[Prediction]]:
        """Start the forward passes; the returned call waits for their predictions, without a second look.

        It raises ValueError if the logits are not finite.
        """

    @abstractmethod
    def made_of(self) -> tuple[Path, dict[str, Any]]:
        """Return the file of the weights, and the configuration of the model."""

    def predict(self, images: ImageLike | Iterable[ImageLike], *, batch_size: int = 1, **options: Any) -> Any:
        """Return the prediction for one image, or the list of predictions for several.

        Args:
            images: a path, a Pillow image, an array (height, width), (height, width, 3) or (height, width, 4) of uint8,
                or a tensor (3, height, width) of uint8 or of floats in [0, 1]; or a sequence of these. The EXIF
                orientation of files and Pillow images is applied. Images in memory are copied, so that the caller may
                overwrite them.
            batch_size: images of a sequence in one forward pass.
            options: of ``PredictionOptions``, in place of the predictor's own, such as ``tta="flip"``. With ``size`` or
                ``tta="scales"`` the model changes during the call: predict in one thread at a time.

        Raises:
            FileNotFoundError, ValueError: an image is missing or damaged, ``batch_size`` is not a positive number, an
                option is impossible, or the model's logits are not finite.
        """
        if _is_single(images):
            return next(self.stream([images], batch_size=batch_size, **options))
        return list(self.stream(images, batch_size=batch_size, **options))

    def stream(
        self, images: Iterable[ImageLike], *, batch_size: int = 1, return_exceptions: bool = False, **options: Any
    ) -> Iterator[Any]:
        """Yield the predictions for any number of images, without holding all of them.

        A batch is yielded once the next one has been read, which happens while the device computes.

        Args:
            images, batch_size, options: as for ``predict``.
            return_exceptions: for an image that cannot be read, yield the error in place of its prediction, and
                continue.

        Raises:
            FileNotFoundError, ValueError: as ``predict``, after the predictions for the images before.
            TypeError: ``images`` is a single image.
        """
        if _is_single(images):
            raise TypeError("stream takes a sequence of images; predict takes a single one")
        if not return_exceptions:
            return self.stream_decoded(map(to_rgb, images), batch_size=batch_size, **options)
        errors: deque[Exception | None] = deque()  # of each image read, in order
        predictions = self.stream_decoded(_readable(images, errors), batch_size=batch_size, **options)
        return _with_errors(predictions, errors)

    def stream_decoded(
        self, images: Iterable[NDArray[np.uint8]], *, batch_size: int = 1, **options: Any
    ) -> Iterator[Prediction]:
        """Yield the predictions for images RGB (height, width, 3), which are not copied and must not change.

        Raises:
            ValueError: as ``predict``.
        """
        check_batch_size(batch_size)
        start = partial(self._start, options=self.options.changed(**options))
        return chain.from_iterable(one_ahead(map(start, _in_batches(images, batch_size))))

    def _start(self, images: Sequence[NDArray[np.uint8]], options: PredictionOptions) -> Callable[[], list[Prediction]]:
        predictions = self._begin(images, options)
        if not options.zoom:
            return predictions
        once = options.changed(zoom=False)
        return lambda: look_again(predictions(), lambda crops: self._start(crops, once)())

    def _not_finite(self) -> ValueError:
        return ValueError(f"the model ({self.source}) gives logits that are not finite; its weights are damaged")


def check_batch_size(value: object) -> None:
    """Raise ValueError unless the value is a positive whole number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"batch_size must be a whole number from 1, not {value!r:.99}")


def _readable(images: Iterable[ImageLike], errors: deque[Exception | None]) -> Iterator[NDArray[np.uint8]]:
    """Yield the images that can be read; note the error of each image, or None."""
    for image in images:
        try:
            pixels = to_rgb(image)
        except (ValueError, OSError) as error:
            errors.append(error)
        else:
            errors.append(None)
            yield pixels


def _with_errors(
    predictions: Iterator[Prediction], errors: deque[Exception | None]
) -> Iterator[Prediction | Exception]:
    """Put the errors that reading notes among the predictions of the other images."""
    for prediction in predictions:
        while (error := errors.popleft()) is not None:
            yield error
        yield prediction
    yield from filter(None, errors)


def _in_batches(images: Iterable[NDArray[np.uint8]], size: int) -> Iterator[list[NDArray[np.uint8]]]:
    """Yield lists of ``size`` images; fewer at the end, and before an image that raises an error."""
    rest = iter(images)
    while True:
        batch: list[NDArray[np.uint8]] = []
        try:
            for image in islice(rest, size):
                batch.append(image)
        except Exception:
            if batch:
                yield batch
            raise
        if not batch:
            return
        yield batch


def _is_single(images: object) -> TypeIs[ImageLike]:
    return isinstance(images, SINGLE) or is_tensor(images)
