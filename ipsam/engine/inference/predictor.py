"""Prediction by a model of torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ipsam.engine.inference.base import BasePredictor
from ipsam.engine.inference.forward import forward_views, resized, start_predictions
from ipsam.engine.inference.options import DEFAULTS, PredictionOptions
from ipsam.engine.inference.prediction import Prediction
from ipsam.engine.runs.checkpoint import WEIGHTS, load_weights
from ipsam.engine.runs.configuration import build_model
from ipsam.engine.runs.model_folder import find_model, model_config, read_description
from ipsam.model import Segmenter
from ipsam.model.inference import prepare_for_inference
from ipsam.utils.async_copy import to_host
from ipsam.utils.device import best_device, checked_device, compile_model, uses_bf16


class Predictor(BasePredictor):
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
        super().__init__(image_size=image_size, letterbox=letterbox, source=source, options=options)
        self.device = best_device() if device is None else checked_device(device)
        self.device_type = self.device.type
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

    @torch.inference_mode()
    def _begin(self, images: Sequence[NDArray[np.uint8]], options: PredictionOptions) -> Callable[[], list[Prediction]]:
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
                raise self._not_finite()
            return predictions()

        return wait

    def made_of(self) -> tuple[Path, dict[str, Any]]:
        """Return the file of the weights, and the configuration of the model."""
        assert self.source is not None  # load sets it
        return self.source / WEIGHTS, read_description(self.source)["model"]

    def save_pretrained(self, folder: str | Path, **options: Any) -> Path:
        """Write the model to a folder to share; the options are those of ``sharing.save_pretrained``.

        Raises:
            ValueError: the model was not loaded from a folder.
        """
        if self.source is None:
            raise ValueError("this model was not loaded from a folder: save a checkpoint of its training and load that")
        from ipsam.engine.inference.sharing import save_pretrained

        return save_pretrained(self.source, folder, **options)

    def push_to_hub(self, repo_id: str, *, private: bool = False, **options: Any) -> str:
        """Upload the model to the Hugging Face Hub, where you are logged in; return the address of the commit.

        Raises:
            ValueError: the model was not loaded from a folder.
            OSError: the Hub refused it, or cannot be reached.
        """
        from ipsam.engine.runs.hub import upload_model

        with TemporaryDirectory() as folder:
            return upload_model(self.save_pretrained(folder, repo_id=repo_id, **options), repo_id, private=private)


def load_folder(
    source: str | Path, *, base: str | Path | None, revision: str | None, options: PredictionOptions, **how: Any
) -> Predictor:
    """Load a model that is no exported file, see ``load``; ``how`` are arguments of ``Predictor``."""
    folder = find_model(source, revision=revision)
    description = read_description(folder)
    model = build_model(model_config(description, base=base))
    if model.backbone.image_size != description["image_size"]:
        raise ValueError(
            f"{folder}: the images are to have {description['image_size']} px, but the model takes "
            f"{model.backbone.image_size} px (model.backbone.image_size): they must agree"
        )
    load_weights(model, folder)
    given = {name: description[name] for name in ("image_size", "letterbox")}
    return Predictor(model, **given, source=folder, options=options, **how)
