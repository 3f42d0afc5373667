"""A model for other programs: python scripts/export.py ckpt=RUN output=model.onnx (--help tells what can be set)."""

import hydra
from omegaconf import DictConfig

from ipsam.engine.cli import user_errors
from ipsam.engine.config import given
from ipsam.engine.export import export
from ipsam.engine.pretrained import load


@hydra.main(version_base="1.3", config_path="../configs", config_name="export")
def main(config: DictConfig) -> None:
    """Load, export, tell."""
    with user_errors():
        output = given(config, "output")
        path = export(load(config.ckpt, device="cpu", precision="fp32", base=config.base, fast=False), output)
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
