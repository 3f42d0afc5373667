"""Export a model to ONNX or torch.export."""

from omegaconf import DictConfig

from ipsam.engine.inference.export import check_target, export
from ipsam.engine.inference.loading import DEFAULT_MODEL, load
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.runs.configuration import given
from ipsam.utils.console import show


def main(config: DictConfig) -> None:
    """Load the model and export it."""
    output = check_target(given(config, "output"))
    predictor = load(config.ckpt or DEFAULT_MODEL, device="cpu", precision="fp32", base=config.base, fast=False)
    if not isinstance(predictor, Predictor):
        raise ValueError(f"ckpt={config.ckpt} is exported already: name a run, a checkpoint or a model's folder")
    path = export(predictor, output)
    show(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
