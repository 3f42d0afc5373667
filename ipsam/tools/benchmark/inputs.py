"""Models and inputs of the benchmarks: the main experiment with random weights, tensors, generated photographs."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from omegaconf import DictConfig
from torch import nn

from ipsam.data.pairs import Pair
from ipsam.data.synthetic.scenes import camouflaged_scene
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.runs.configuration import build_model, compose_experiment, drop_checkpoints
from ipsam.model import IPSAM
from ipsam.utils.resources import CONFIGS

EXPERIMENT = "cod_r32"
NARROW = ("model.decoder.dim=64", "model.decoder.num_heads=4", "model.decoder.mlp_dim=128")  # fits the micro trunk
PHOTOGRAPH = (768, 1024)  # height, width; about the size of COD10K's images
PNG_LEVEL = 6  # zlib's; Pillow's default


def model_keys(variant: str, image_size: int) -> list[str]:
    """Return the overrides of ``EXPERIMENT`` for a variant of the backbone and a size in pixels."""
    chosen = [f"model.backbone.variant={variant}", f"data.image_size={image_size}"]
    return chosen + (list(NARROW) if variant == "micro" else [])


def experiment(variant: str, image_size: int, *overrides: str) -> DictConfig:
    """Compose ``EXPERIMENT`` without checkpoints for a variant of the backbone and a size in pixels."""
    config = compose_experiment(CONFIGS, EXPERIMENT, [*model_keys(variant, image_size), *overrides])
    drop_checkpoints(config.model)
    return config


def random_model(config: DictConfig) -> IPSAM:
    """Build the model of a configuration in evaluation mode, with the same random weights at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        model = build_model(config.model)
    assert isinstance(model, IPSAM)
    return model.eval()


def predictor_of(model: IPSAM, device: torch.device, *, precision: str, compiled: bool = False) -> Predictor:
    """Make a predictor of a copy of the model."""
    size = model.backbone.image_size
    return Predictor(copy.deepcopy(model), image_size=size, device=device, precision=precision, compile=compiled)


def forward_pass(model: nn.Module, batch: int, size: int, device: torch.device, precision: str) -> Callable[[], object]:
    """Return a function that calls the model on normally distributed inputs (batch, 3, size, size)."""
    image = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)

    @torch.inference_mode()
    def run() -> object:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            return model(image)

    return run


def write_pairs(folder: Path, sizes: Sequence[tuple[int, int]], *, quality: int = 90, grain: float = 0.0) -> list[Pair]:
    """Write synthetic scenes to ``folder/images`` (JPEG) and ``folder/masks`` (PNG).

    Args:
        folder: folder to write to.
        sizes: height and width of each image.
        quality: JPEG quality.
        grain: standard deviation of added noise, of 255.
    """
    pairs = []
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for index, (height, width) in enumerate(sizes):
        rng = np.random.default_rng((0, index))
        scene = camouflaged_scene(rng, size=max(height, width), difficulty=0.5)
        image, mask = scene.image[:height, :width], scene.mask[:height, :width]
        if grain:
            image = (image + rng.normal(0, grain, image.shape)).clip(0, 255).astype(np.uint8)
        stem = f"{index:04d}"
        pair = Pair(stem, folder / "images" / f"{stem}.jpg", folder / "masks" / f"{stem}.png")
        cv2.imwrite(str(pair.image), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
        cv2.imwrite(str(pair.mask), mask, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
        pairs.append(pair)
    return pairs
