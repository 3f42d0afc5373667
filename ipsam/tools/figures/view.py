"""What a model makes of single images, with the inner workings that a figure shows."""

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
from ipsam.data.sources import Sample
from ipsam.data.transforms import network_input
from ipsam.engine.inference.forward import forward
from ipsam.engine.inference.predictor import results_of
from ipsam.engine.runs.checkpoint import load_weights
from ipsam.engine.runs.configuration import build_model, settings_of
from ipsam.engine.runs.settings import Settings
from ipsam.model import Segmenter
from ipsam.tools.figures.pictures import Picture, shrunk


@dataclass(frozen=True)
class Subject:
    """A trained model, the side of the square that it sees in pixels, and how its run computes."""

    model: Segmenter
    image_size: int
    settings: Settings


@dataclass(frozen=True)
class View:
    """An image as a model sees it: (height, width) each, of the image's shape but no larger than a page shows it.

    Attributes:
        name: the image's stem.
        image: RGB, (height, width, 3) uint8.
        truth: 1 on the object, else 0.
        prob: the prediction.
        fg, bg: SPG's dense prompts P+ and P- as probabilities; None where the model makes none.
        gate: PSG's, in (0, 1); None where there is none.
        energy: how far PSG, or another operator in its place, moves the dense prompt: the L2 norm over channels of its
            change to E+; None where there is none.
    """

    name: str
    image: Picture
    truth: NDArray[np.float32]
    prob: NDArray[np.float32]
    fg: NDArray[np.float32] | None
    bg: NDArray[np.float32] | None
    gate: NDArray[np.float32] | None
    energy: NDArray[np.float32] | None


def open_subject(checkpoint: Path, run: DictConfig) -> Subject:
    """The model of a checkpoint, built as its run's configuration says.

    Raises:
        ValueError, FileNotFoundError: the configuration or the weights can't be used.
    """
    settings = settings_of(Settings, run.engine, "engine")
    image_size = settings_of(Data, run.data, "data").image_size
    model = build_model(run.model)
    load_weights(model, checkpoint)
    return Subject(model.to(settings.device).eval(), image_size, settings)


@torch.inference_mode()
def view(subject: Subject, sample: Sample) -> View:
    """Look at an image.

    Raises:
        ValueError: the model's logits for it are not finite.
    """
    size, settings = sample.image.shape[:2], subject.settings
    image = network_input(sample.image, subject.image_size)[None]
    with energy_changes(subject.model) as changes:
        output = forward(subject.model, image, [sample.mask], device=settings.device, bf16=settings.bf16)
    if not output.logits.isfinite().all():
        raise ValueError(f"{sample.name}: the model's logits are not finite; its training has diverged")
    (result,) = results_of(output, [sample.image])()
    fg, bg = (None, None) if result.prompts is None else result.prompts
    energy = F.interpolate(changes[0], size=size, mode="bilinear")[0, 0].cpu().numpy() if changes else None
    truth = cv2.resize(sample.mask, size[::-1], interpolation=cv2.INTER_NEAREST) > 0
    inner = (None if one is None else shrunk(one) for one in (fg, bg, result.gate, energy))
    return View(sample.name, shrunk(sample.image), shrunk(truth.astype(np.float32)), shrunk(result.prob), *inner)


@contextmanager
def energy_changes(model: nn.Module) -> Iterator[list[Float[Tensor, "b 1 h w"]]]:
    """Collects, from each forward pass, the L2 norm over channels of what the gating makes of E+, less E+.

    A hook sees both, whichever operator is in PSG's place, and neither slows other passes nor adds to their output.
    Nothing is collected from a model without an operator.
    """
    changes: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Tensor, Tensor], made: tuple[Tensor, Tensor | None]) -> None:
        # In fp32, as in bf16 the difference of two near embeddings would be mostly rounding.
        changes.append((made[0].float() - given[0].float()).norm(dim=1, keepdim=True))

    gating = getattr(model, "gating", None)
    if gating is None:
        yield changes
        return
    handle = gating.register_forward_hook(note)
    try:
        yield changes
    finally:
        handle.remove()
