"""A model for other programs: python scripts/export.py ckpt=RUN output=model.onnx (--help tells what can be set)."""

import hydra
from omegaconf import DictConfig

from ipsam.cli import CONFIGS
from ipsam.cli.errors import user_errors
from ipsam.engine.inference.export import export
from ipsam.engine.inference.predictor import load
from ipsam.engine.runs.configuration import given


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="export")
def main(config: DictConfig) -> None:
    """Load, export, tell."""
    with user_errors():
        output = given(config, "output")
        path = export(load(config.ckpt, device="cpu", precision="fp32", base=config.base, fast=False), output)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
