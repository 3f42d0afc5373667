"""Run folders as training leaves them, without the training."""

from pathlib import Path

from builders import micro_model
from omegaconf import DictConfig
from torch import nn

from ipsam.engine.run import open_run
from ipsam.engine.store import Store

CONFIGS = Path(__file__).parents[2] / "configs"
MODEL = nn.Sequential(nn.Linear(9, 10), nn.Linear(10, 1).requires_grad_(False))


def finish(config: DictConfig) -> Path:
    """A run with checkpoints of two steps, the first of them the best."""
    folder, resolved = open_run(config, MODEL)
    checkpoints = Store(folder / "checkpoints", keep=2)
    for step in (1, 2):
        checkpoints.save(step, micro_model(), config=resolved, training={}, best=step == 1)
    return folder
