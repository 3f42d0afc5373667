"""Export a model to ONNX or torch.export."""

from omegaconf import DictConfig

from ipsam.engine.inference.export import check_target, export
from ipsam.engine.inference.predictor import load
from ipsam.engine.runs.configuration import given
from ipsam.utils.console import show


def main(config: DictConfig) -> None:
    """Load the model and export it."""
    output = check_target(given(config, "output"))
    path = export(load(config.ckpt, device="cpu", precision="fp32", base=config.base, fast=False), output)
    show(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
