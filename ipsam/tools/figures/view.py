"""A model's prediction for one image with the internal maps that a figure shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import Tensor, nn

from ipsam.data import Data
from ipsam.data.placement import Placement
from ipsam.data.sources import Sample
from ipsam.engine.evaluate.page import WIDTH, Pixels, resized
from ipsam.engine.inference.forward import forward, start_predictions
from ipsam.engine.runs.checkpoint import load_weights
from ipsam.engine.runs.configuration import settings_of
from ipsam.engine.runs.exported_model import open_model
from ipsam.engine.runs.settings import Settings
from ipsam.model import Segmenter


@dataclass(frozen=True)
class FigureModel:
    """A trained model in evaluation mode, its run's engine settings, and its input, see ``Placement``."""

    model: Segmenter
    image_size: int
    settings: Settings
    letterbox: bool = False


@dataclass(frozen=True)
class View:
    """Maps of one image, (height, width) each, in the image's shape and at most ``WIDTH`` wide.

    Attributes:
        name: the image's stem.
        image: RGB, (height, width, 3) uint8.
        truth: 1 on the object, else 0.
        prob: the predicted probability.
        fg, bg: SPG's dense prompts P+ and P- as probabilities; None without SPG.
        gate: PSG's gate in (0, 1); None without one.
        energy: see ``energy_changes``; None without PSG or another operator in its place.
    """

    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.float32]
    prob: NDArray[np.float32]
    fg: NDArray[np.float32] | None
    bg: NDArray[np.float32] | None
    gate: NDArray[np.float32] | None
    energy: NDArray[np.float32] | None


def load_figure_model(checkpoint: Path, run: DictConfig) -> FigureModel:
    """Build the model that a run's configuration describes and load a checkpoint's weights.

    Raises:
        ValueError, FileNotFoundError: the configuration or the weights are unusable.
    """
    settings = settings_of(Settings, run.engine, "engine")
    data = settings_of(Data, run.data, "data")
    model = open_model(checkpoint, run.model)
    load_weights(model, checkpoint)
    return FigureModel(model.to(settings.device).eval(), data.image_size, settings, data.letterbox)


@torch.inference_mode()
def view(subject: FigureModel, sample: Sample) -> View:
    """Predict an image and collect its maps.

    Raises:
        ValueError: the logits are not finite.
    """
    size, settings = sample.image.shape[:2], subject.settings
    placed = Placement.of(size, subject.image_size, letterbox=subject.letterbox)
    device, bf16, image = settings.device, settings.bf16, placed.image(sample.image)[None]
    with energy_changes(subject.model) as changes:
        output = forward(subject.model, image, [sample.mask], [placed], device=device, bf16=bf16)
    if not output.logits.isfinite().all():
        raise ValueError(f"{sample.name}: the model's logits are not finite; its training has diverged")
    (result,) = start_predictions(output, [sample.image], [placed])()
    fg, bg = (None, None) if result.prompts is None else result.prompts
    shown = [placed.cropped(change[0])[None] for change in changes]
    energy = F.interpolate(shown[0], size=size, mode="bilinear")[0, 0].cpu().numpy() if shown else None
    truth = cv2.resize(sample.mask, size[::-1], interpolation=cv2.INTER_NEAREST) > 0
    internal = (None if values is None else shrunk(values) for values in (fg, bg, result.gate, energy))
    return View(sample.name, shrunk(sample.image), shrunk(truth.astype(np.float32)), shrunk(result.prob), *internal)


@contextmanager
def energy_changes(model: nn.Module) -> Iterator[list[Float[Tensor, "b 1 h w"]]]:
    """Collect the energy change of each forward pass: by how much the gating changes the norm of the dense prompt.

    It is the L2 norm over channels of the gating's output minus that of E+, and negative where the gating cancels the
    prompt. A forward hook works for every operator in PSG's place. A model without one adds nothing to the list.
    """
    changes: list[Tensor] = []

    def collect(_: nn.Module, inputs: tuple[Tensor, Tensor], outputs: tuple[Tensor, Tensor | None]) -> None:
        # In bf16 the difference of two similar norms would be mostly rounding error.
        after, before = (prompt.float().norm(dim=1, keepdim=True) for prompt in (outputs[0], inputs[0]))
        changes.append(after - before)

    gating = getattr(model, "gating", None)
    if gating is None:
        yield changes
        return
    handle = gating.register_forward_hook(collect)
    try:
        yield changes
    finally:
        handle.remove()


def shrunk(pixels: Pixels) -> Pixels:
    """Shrink an image or map to at most ``WIDTH`` wide, keeping its aspect ratio."""
    height, width = pixels.shape[:2]
    return resized(pixels, (max(1, round(height * WIDTH / width)), WIDTH)) if width > WIDTH else pixels
