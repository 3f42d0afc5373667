"""Provenance of a run: seed, command, code revision, package versions and size of the model."""

import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

PACKAGES = (
    "ipsam",
    "torch",
    "torchvision",
    "sam2",
    "peft",
    "accelerate",
    "hydra-core",
    "numpy",
    "opencv-python-headless",
)


def _environment(seed: int, model: nn.Module) -> dict[str, Any]:
    return {
        "seed": seed,
        "parameters": dict(zip(("param", "t_param"), count(model), strict=True)),
        "command": sys.argv,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "revision": _git("rev-parse", "HEAD"),
        "uncommitted": _git("status", "--porcelain"),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603 (fixed words)
    except (OSError, subprocess.SubprocessError):
        return None  # installed without a repository, or no git here
    return done.stdout.strip()


def count(model: nn.Module) -> tuple[float, float]:
    """All and trainable parameters, in millions: the paper's Param and T-Param."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, _ in sizes) / 1e6, sum(size for size, trains in sizes if trains) / 1e6
