"""Folders that come with ipsam: inside the package once it is installed, beside the package in the repository."""

from pathlib import Path


def _shipped(name: str) -> Path:
    package = Path(__file__).parents[1]
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


CONFIGS = _shipped("configs")
CHECKPOINTS = _shipped("checkpoints")
