"""Prediction for any images: a trained model, loaded with one call."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import NoneType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from ipsam.data.user_images import ImageLike, to_rgb
from ipsam.engine.inference.forward import forward_views, resized, start_predictions
from ipsam.engine.inference.options import DEFAULTS, PredictionOptions
from ipsam.engine.inference.prediction import Prediction
from ipsam.engine.inference.sharing import save_pretrained
from ipsam.engine.inference.zoom import look_again
from ipsam.engine.runs.checkpoint import load_weights
from ipsam.engine.runs.hub import upload_model
from ipsam.engine.runs.model_folder import find_model, model_config, read_description
from ipsam.engine.runs.model_names import DEFAULT_MODEL
from ipsam.engine.runs.onnx_file import is_onnx
from ipsam.engine.runs.onnx_model import open_model
from ipsam.engine.runs.plugins import trust
from ipsam.model import Segmenter
from ipsam.model.inference import prepare_for_inference
from ipsam.utils.async_copy import one_ahead, to_host
from ipsam.utils.device import best_device, checked_device, compile_model, uses_bf16

# One image rather than a sequence; cv2.imread returns None for a file that is not there.
SINGLE = (str, Path, Image.Image, np.ndarray, Tensor, NoneType)


class Predictor:
    """A model in evaluation mode on its device.

    Args:
        model: with its weights; changed in place.
        image_size: side of the square network input, in pixels.
        letterbox: keep the images' aspect ratio and pad them, as in training, see ``Placement``.
        device: None for a GPU if there is one.
        precision: ``bf16``, ``fp32``, or ``auto``: bf16 on a CUDA device that has it.
        fast: merge LoRA into the weights and precompute constants, see ``prepare_for_inference``.
        compile: use ``torch.compile``, which takes a minute or more at the first image of a process.
        source: the folder that the weights came from; needed to save the model elsewhere.
        options: defaults of every prediction.

    Raises:
        ValueError: the model needs the ground truth or cannot work at the options' size, the device is not available,
            or the precision is unknown.
    """

    def __init__(
        self,
        model: Segmenter,
        *,
        image_size: int,
        letterbox: bool = False,
        device: torch.device | str | None = None,
        precision: str = "auto",
        fast: bool = True,
        compile: bool = False,
        source: Path | None = None,
        options: PredictionOptions = DEFAULTS,
    ) -> None:
        if model.oracle:
            raise ValueError(f"{type(model).__name__} needs the ground truth: it can be evaluated, not used")
        self.image_size = image_size
        self.letterbox = letterbox
        self.source = source
        self.options = options
        self.device = best_device() if device is None else checked_device(device)
        self.bf16 = uses_bf16(precision, self.device)
        self.model = model.requires_grad_(False).eval().to(self.device)
        for side in self._sides(options):
            with resized(model, side):
                pass
        if fast:
            prepare_for_inference(self.model, bf16=self.bf16)
        if compile:
            compile_model(self.model)

    def _sides(self, options: PredictionOptions) -> list[int]:
        return options.sides(self.image_size, getattr(self.model.backbone, "multiple", 1))

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
        if isinstance(images, SINGLE):
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
        if isinstance(images, SINGLE):
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

    @torch.inference_mode()
    def _start(self, images: Sequence[NDArray[np.uint8]], options: PredictionOptions) -> Callable[[], list[Prediction]]:
        """Start the forward passes; the returned call waits for their predictions."""
        output, placements = forward_views(
            self.model,
            images,
            sides=self._sides(options),
            letterbox=self.letterbox if options.letterbox is None else options.letterbox,
            flip=options.tta != "none",
            device=self.device,
            bf16=self.bf16,
        )
        is_finite = to_host([output.logits.isfinite().all()])
        predictions = start_predictions(output, images, placements, options)

        def wait() -> list[Prediction]:
            if not is_finite()[0]:
                raise ValueError(f"the model ({self.source}) gives logits that are not finite; its weights are damaged")
            if not options.zoom:
                return predictions()
            return look_again(predictions(), lambda crops: self._start(crops, options.changed(zoom=False))())

        return wait

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Write the model to a folder to share; the options are those of ``sharing.save_pretrained``.

        Raises:
            ValueError: the model was not loaded from a folder.
        """
        if self.source is None:
            raise ValueError("this model was not loaded from a folder: save a checkpoint of its training and load that")
        return save_pretrained(self.source, folder, **options)

    def push_to_hub(self, repo_id: str, *, private: bool = False, **options: Any) -> str:
        """Upload the model to the Hugging Face Hub, where you are logged in; return the address of the commit.

        Raises:
            ValueError: the model was not loaded from a folder.
            OSError: the Hub refused it, or cannot be reached.
        """
        with TemporaryDirectory() as folder:
            return upload_model(self.save_pretrained(folder, repo_id=repo_id, **options), repo_id, private=private)


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


def load(
    source: str | Path = DEFAULT_MODEL,
    *,
    device: torch.device | str | None = None,
    precision: str = "auto",
    base: str | Path | None = None,
    revision: str | None = None,
    fast: bool = True,
    compile: bool = False,
    plugins: Sequence[str] = (),
    **options: Any,
) -> Predictor:
    """Load a model for prediction.

    Args:
        source: a name, such as ``micro`` (``model_names`` lists them); a run's folder or one of its checkpoints; a
            folder written by ``save_pretrained``; an ONNX file of ``ipsam export``; or the id of one on the Hugging
            Face Hub, such as ``name/model``.
        device, precision, fast, compile: of ``Predictor``.
        base: file of the pretrained SAM2 weights; None takes the path in the model's configuration, searches
            ``checkpoints/`` and the cache, and otherwise downloads it once.
        revision: of a model on the Hub.
        plugins: your own packages whose classes the model names; they are imported.
        options: defaults of every prediction, see ``PredictionOptions``.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: it is damaged, not an ipsam model, or was trained on other pretrained weights; or an option is
            impossible.
    """
    chosen = PredictionOptions(**options)  # complain before the model is read
    trust(plugins)
    folder = find_model(source, revision=revision)
    description = read_description(folder)
    config = OmegaConf.create() if is_onnx(folder) else model_config(description, base=base)
    model = open_model(folder, config)
    if model.backbone.image_size != description["image_size"]:
        raise ValueError(
            f"{folder}: the images are to have {description['image_size']} px, but the model takes "
            f"{model.backbone.image_size} px (model.backbone.image_size): they must agree"
        )
    load_weights(model, folder)
    how: dict[str, Any] = {"device": device, "precision": precision, "fast": fast, "compile": compile}
    given = {name: description[name] for name in ("image_size", "letterbox")}
    return Predictor(model, **given, source=folder, options=chosen, **how)
