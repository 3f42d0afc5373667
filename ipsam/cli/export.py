"""A model for other programs: python scripts/export.py ckpt=RUN output=model.onnx (--help tells what can be set)."""

from omegaconf import DictConfig

from ipsam.cli.command import command
from ipsam.engine.inference.export import export
from ipsam.engine.inference.predictor import load
from ipsam.engine.runs.configuration import given


@command("export")
def main(config: DictConfig) -> None:
    """Load, export, tell."""
    output = given(config, "output")
    path = export(load(config.ckpt, device="cpu", precision="fp32", base=config.base, fast=False), output)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
