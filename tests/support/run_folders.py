"""Run folders as training leaves them, without the training."""

from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from ipsam.engine.runs.run_folder import open_run
from ipsam.engine.runs.store import Store
from support.builders import micro_model

CONFIGS = Path(__file__).parents[2] / "configs"
MODEL = nn.Sequential(nn.Linear(9, 10), nn.Linear(10, 1).requires_grad_(False))


def finish(config: DictConfig) -> Path:
    """A run with checkpoints of two steps, the first of them the best."""
    folder, resolved = open_run(config, MODEL)
    checkpoints = Store(folder / "checkpoints", keep=2)
    for step in (1, 2):
        checkpoints.save(step, micro_model(), config=resolved, training={}, best=step == 1)
    return folder
