"""The model that is timed: the paper's main experiment, with random weights, on which speed does not depend."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.runs.configuration import build_model, compose_experiment, drop_checkpoints
from ipsam.model import IPSAM

EXPERIMENT = "cod_r32"
NARROW = ("model.decoder.dim=64", "model.decoder.num_heads=4", "model.decoder.mlp_dim=128")  # as wide as micro's trunk


def experiment(configs: Path, *, variant: str, image_size: int, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration of ``EXPERIMENT`` on a variant of the backbone, from random weights.

    Args:
        configs: the folder ``configs/`` of the repository.
        variant: of the backbone.
        image_size: side of the square input in pixels.
        overrides: more of them, as on the command line.
    """
    narrow = NARROW if variant == "micro" else ()
    chosen = (f"model.backbone.variant={variant}", f"data.image_size={image_size}")
    config = compose_experiment(configs, EXPERIMENT, [*chosen, *narrow, *overrides])
    drop_checkpoints(config.model)
    return config


def random_model(config: DictConfig) -> IPSAM:
    """A model of a configuration, the same at every call; in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        model = build_model(config.model)
    assert isinstance(model, IPSAM)
    return model.eval()


def predictor_of(model: IPSAM, *, device: torch.device, precision: str, compiled: bool = False) -> Predictor:
    """A predictor, as users get it, of a copy of the model."""
    size = model.backbone.image_size
    return Predictor(copy.deepcopy(model), image_size=size, device=device, precision=precision, compile=compiled)


def precision_of(predictor: Predictor) -> str:
    """``bf16`` or ``fp32``."""
    return "bf16" if predictor.bf16 else "fp32"


def forward_pass(model: nn.Module, image: Tensor, *, precision: str) -> Callable[[], object]:
    """A call of the model on an input that lies on its device."""

    @torch.inference_mode()
    def run() -> object:
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            return model(image)

    return run


def network_inputs(batch: int, size: int, device: torch.device) -> Tensor:
    """Inputs (batch, 3, size, size) of the spread that normalised images have."""
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
