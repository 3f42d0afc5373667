"""A small model as users meet it: a run's checkpoint, made once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

import ipsam
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.runs.checkpoint import save_checkpoint
from ipsam.engine.runs.configuration import build_model, compose_experiment
from support.builders import randomise

CONFIGS = Path(__file__).parents[2] / "configs"
SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = (  # options of ipsam train for seconds on a CPU
    *("experiment=quickstart", "run_dir=run", "data.image_size=64", "data.synthetic.num_train=2"),
    *("data.synthetic.num_test=1", "engine.epochs=1", "engine.batch_size=2", "engine.num_workers=0"),
    *("engine.num_threads=1", "engine.cpu=true", "engine.references=false"),
)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of the quickstart's model at 64 px, with random weights that vary its maps."""
    torch.manual_seed(4)
    config = compose_experiment(CONFIGS, "quickstart", ["data.image_size=64", "name=small"])
    model = build_model(config.model)
    randomise(model, scale=0.15)
    folder = tmp_path_factory.mktemp("run") / "checkpoints" / "step_00000010"
    training = {"optimizer": {}, "rng": [], "progress": {"epoch": 9, "step": 10}}
    save_checkpoint(folder, model, config=OmegaConf.to_yaml(config, resolve=True), training=training)
    return folder


@pytest.fixture(scope="session")
def predictor(checkpoint: Path) -> Predictor:
    return ipsam.load(checkpoint, device="cpu")


@pytest.fixture
def picture() -> np.ndarray:
    """RGB (70, 90, 3)."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:70, :90]
    smooth = np.stack([rows * 3, columns * 2, rows + columns], axis=2)
    return (smooth + rng.integers(0, 30, smooth.shape)).clip(0, 255).astype(np.uint8)
