"""Masks for anybody's images: a trained model, ready to be used."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ipsam.data.transforms import network_input
from ipsam.data.user_images import ImageLike, to_rgb
from ipsam.engine.inference.forward import to_map
from ipsam.engine.inference.prediction import Prediction
from ipsam.engine.inference.sharing import save_pretrained
from ipsam.engine.runs.checkpoint import load_weights
from ipsam.engine.runs.configuration import build_model
from ipsam.engine.runs.hub import upload_model
from ipsam.engine.runs.model_folder import find_model, model_config, read_description
from ipsam.model import IPSAMOutput, Segmenter
from ipsam.model.inference import prepare_for_inference
from ipsam.utils.async_copy import one_ahead, to_device, to_host
from ipsam.utils.device import best_device, checked_device, compile_model, uses_bf16
from ipsam.utils.imagenet import normalise

SINGLE = (str, Path, Image.Image, np.ndarray, Tensor)  # images, where several would come in a sequence


class Predictor:
    """A model in evaluation mode on its device.

    Args:
        model: with the weights to use; changed in place.
        image_size: side of the square that it sees, in pixels.
        device: where it computes; None for a GPU if there is one.
        precision: ``bf16``, ``fp32``, or ``auto``: bf16 on a CUDA device that has it.
        fast: merge LoRA into the weights and do whatever else can be done once, see ``prepare_for_inference``.
        compile: by ``torch.compile``, which takes a minute or more at the first image of a process.
        source: the folder that the weights came from, where they did; needed to save them elsewhere.

    Raises:
        ValueError: for a model that needs the ground truth, a device that is not there, or an unknown precision.
    """

    def __init__(
        self,
        model: Segmenter,
        *,
        image_size: int,
        device: torch.device | str | None = None,
        precision: str = "auto",
        fast: bool = True,
        compile: bool = False,
        source: Path | None = None,
    ) -> None:
        if model.oracle:
            raise ValueError(f"{type(model).__name__} needs the ground truth: it can be evaluated, not used")
        self.image_size = image_size
        self.source = source
        self.device = best_device() if device is None else checked_device(device)
        self.bf16 = uses_bf16(precision, self.device)
        self.model = model.requires_grad_(False).eval().to(self.device)
        if fast:
            prepare_for_inference(self.model, bf16=self.bf16)
        if compile:
            compile_model(self.model)

    def predict(self, images: ImageLike | Iterable[ImageLike], *, batch_size: int = 1) -> Any:
        """The result of one image, or the list of results of several.

        Args:
            images: a path, a Pillow image, an array (height, width), (height, width, 3) or (height, width, 4) of uint8,
                or a tensor (3, height, width) of uint8 or of floats in [0, 1]; or a sequence of such. Files and Pillow
                images with an EXIF orientation are turned the right way up. What is in memory is copied at once and
                can then be overwritten.
            batch_size: images of a sequence that go through the model together.

        Raises:
            FileNotFoundError, ValueError: an image can't be read, or is none; ``batch_size`` is no positive number; or
                the model's logits are not finite.
        """
        if isinstance(images, SINGLE):
            return next(self.stream([images], batch_size=batch_size))
        return list(self.stream(images, batch_size=batch_size))

    def stream(self, images: Iterable[ImageLike], *, batch_size: int = 1) -> Iterator[Prediction]:
        """The results of any number of images, one after another, without holding all of them.

        While the device computes the results of one batch, the next is read: they come once that has been read.

        Args:
            images: each as ``predict`` takes it.
            batch_size: images that go through the model together.

        Raises:
            FileNotFoundError, ValueError: as ``predict`` does, once the results of the images before are out.
            TypeError: it was given a single image.
        """
        if isinstance(images, SINGLE):
            raise TypeError("stream takes a sequence of images; predict takes a single one")
        return self.stream_decoded(map(to_rgb, images), batch_size=batch_size)

    def stream_decoded(self, images: Iterable[NDArray[np.uint8]], *, batch_size: int = 1) -> Iterator[Prediction]:
        """Stream the results of decoded images, which are not copied and must not change afterwards.

        Args:
            images: RGB (height, width, 3) each, as ``to_rgb`` returns them.
            batch_size: images that go through the model together.

        Raises:
            ValueError: as ``predict`` does.
        """
        check_batch_size(batch_size)
        begun = map(self._begin, _in_batches(images, batch_size))
        return chain.from_iterable(one_ahead(begun))

    @torch.inference_mode()
    def _begin(self, images: Sequence[NDArray[np.uint8]]) -> Callable[[], list[Prediction]]:
        """Have the device begin with some images; the call that is returned waits for their results."""
        inputs = torch.stack([network_input(image, self.image_size) for image in images])
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            output: IPSAMOutput = self.model(normalise(to_device(inputs, self.device)))
        return partial(self._checked, to_host([output.logits.isfinite().all()]), results_of(output, images))

    def _checked(
        self, is_finite: Callable[[], list[Tensor]], results: Callable[[], list[Prediction]]
    ) -> list[Prediction]:
        if not is_finite()[0]:
            raise ValueError(f"the logits of the model ({self.source}) are not finite; its weights are spoilt")
        return results()

    def save_pretrained(self, folder: str | Path, *, half: bool = False) -> Path:
        """Write the model to a folder to share, see ``ipsam.engine.inference.sharing.save_pretrained``.

        Raises:
            ValueError: the model did not come from a folder.
        """

        if self.source is None:
            raise ValueError("this model came from no folder: save a checkpoint of its training, and load that")
        return save_pretrained(self.source, folder, half=half)

    def push_to_hub(self, repo_id: str, *, private: bool = False, half: bool = False) -> str:
        """Upload the model to the Hugging Face Hub, where you are logged in; returns the address of the commit.

        Raises:
            ValueError: the model did not come from a folder.
            OSError: the Hub refused it, or can't be reached.
        """

        with TemporaryDirectory() as folder:
            return upload_model(self.save_pretrained(folder, half=half), repo_id, private=private)


def check_batch_size(value: object) -> None:
    """ValueError for anything but a positive number."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"batch_size must be a whole number from 1, not {value!r:.99}")


def results_of(output: IPSAMOutput, images: Sequence[NDArray[np.uint8]]) -> Callable[[], list[Prediction]]:
    """Begin to fetch what a model made of some images, RGB (height, width, 3) each; the call that is returned waits.

    Maps are resized to the images' own sizes, on the device.
    """
    made = {"fg_logits": output.fg_logits, "bg_logits": output.bg_logits, "gate_grid": output.gate}
    grids = {name: grid[:, 0].float() for name, grid in made.items() if grid is not None}
    maps = [to_map(one, image.shape[:2], eight_bit=False) for one, image in zip(output.logits, images, strict=True)]
    arriving = to_host([*maps, *grids.values()])
    names, remarks = list(grids), output.remarks or [""] * len(images)

    def wait() -> list[Prediction]:
        arrived = arriving()
        parts = dict(zip(names, arrived[len(images) :], strict=True))
        return [
            Prediction(
                image, prob.numpy(), **{name: grid[index].clone() for name, grid in parts.items()}, remark=remark
            )
            for index, (image, prob, remark) in enumerate(zip(images, arrived, remarks, strict=False))
        ]

    return wait


def _in_batches(images: Iterable[NDArray[np.uint8]], size: int) -> Iterator[list[NDArray[np.uint8]]]:
    """Images by lists of ``size``; the last may be shorter, as is the one before an image that can't be had."""
    rest = iter(images)
    while True:
        some: list[NDArray[np.uint8]] = []
        try:
            for image in islice(rest, size):
                some.append(image)
        except Exception:
            if some:
                yield some
            raise
        if not some:
            return
        yield some


def load(
    source: str | Path,
    *,
    device: torch.device | str | None = None,
    precision: str = "auto",
    base: str | Path | None = None,
    revision: str | None = None,
    fast: bool = True,
    compile: bool = False,
) -> Predictor:
    """A model that predicts, in one line.

    Args:
        source: ``micro``, the small model that comes with ipsam; a run's folder or one of its checkpoints; a folder
            written by ``save_pretrained``; or the id of such a one on the Hugging Face Hub, such as ``name/model``.
        device: where to compute; None for a GPU if there is one.
        precision: ``auto`` (bf16 on a CUDA device that has it), ``bf16`` or ``fp32``.
        base: the file of pretrained SAM2 weights, if it lies elsewhere; None looks for it where the model's
            configuration says, in ``checkpoints/`` and in the cache, and else fetches it once.
        revision: of a model on the Hub.
        fast, compile: as ``Predictor`` has them.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: it is damaged, or no such model, or its pretrained weights are others.
    """
    folder = find_model(source, revision=revision)
    about = read_description(folder)
    model = build_model(model_config(about, base=base))
    if model.backbone.image_size != about["image_size"]:
        raise ValueError(
            f"{folder}: the images are to have {about['image_size']} px, but the model takes "
            f"{model.backbone.image_size} px (model.backbone.image_size): they must agree"
        )
    load_weights(model, folder)
    how: dict[str, Any] = {"device": device, "precision": precision, "fast": fast, "compile": compile}
    return Predictor(model, image_size=about["image_size"], source=folder, **how)
