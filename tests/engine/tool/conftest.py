"""A small model as users meet it: a run's checkpoint, made once."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from builders import randomise
from omegaconf import OmegaConf

from ipsam.engine.checkpoint import save_checkpoint
from ipsam.engine.config import build_model, compose_experiment

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the quickstart's model at 64 px, its weights random but lively."""
    torch.manual_seed(4)
    config = compose_experiment(CONFIGS, "quickstart", ["data.image_size=64", "name=small"])
    model = build_model(config.model)
    randomise(model, scale=0.15)
    folder = tmp_path_factory.mktemp("run") / "checkpoints" / "step_00000010"
    training = {"optimizer": {}, "rng": [], "progress": {"epoch": 9, "step": 10}}
    save_checkpoint(folder, model, config=OmegaConf.to_yaml(config, resolve=True), training=training)
    return folder


@pytest.fixture
def picture() -> np.ndarray:
    """RGB (70, 90, 3)."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:70, :90]
    smooth = np.stack([rows * 3, columns * 2, rows + columns], axis=2)
    return (smooth + rng.integers(0, 30, smooth.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def server() -> Iterator[Any]:
    """Starts a server on the loopback that answers as it is told; gives its address."""
    running: list[ThreadingHTTPServer] = []

    def start(handler: type[BaseHTTPRequestHandler]) -> str:
        handler.log_message = lambda *_: None  # type: ignore[method-assign]
        running.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        Thread(target=running[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}"

    yield start
    for one in running:
        one.shutdown()
        one.server_close()
