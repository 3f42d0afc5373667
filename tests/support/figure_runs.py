"""Runs with images to draw, and what scripts/visualize.py makes of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from ipsam.engine.evaluate.page import GAP, WIDTH
from ipsam.engine.runs.configuration import build_model
from ipsam.engine.runs.store import Store
from support.builders import randomise
from support.experiments import CONFIGS, changeable
from support.saved_maps import mask_of, save


def write_run(folder: str, test: Sequence[Any], *overrides: str, image_size: int = 64) -> Path:
    """A run of the quickstart's model, its weights random but lively; returns its checkpoint."""
    given = [
        f"run_dir={folder}",
        f"data.image_size={image_size}",
        "engine.cpu=true",
        "engine.num_workers=0",
        *overrides,
    ]
    config = changeable("quickstart", *given)
    config.data.test = test
    torch.manual_seed(len(folder))
    model = build_model(config.model)
    randomise(model, scale=0.15)
    training = {"optimizer": {}, "rng": [], "progress": {"epoch": 9, "step": 10}}
    resolved = OmegaConf.to_yaml(config, resolve=True)
    Store(Path(folder, "checkpoints")).save(10, model, config=resolved, training=training, best=False)
    return Path(folder, "checkpoints", "step_00000010")


def write_set(name: str, stems: Sequence[str] = "abcd", size: tuple[int, int] = (48, 64)) -> dict[str, str]:
    """Noise with a mask of each, in the current folder; returns the set as a configuration names it."""
    rng = np.random.default_rng(len(name))
    for number, stem in enumerate(stems):
        save(Path(name, "images", f"{stem}.png"), rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        save(Path(name, "masks", f"{stem}.png"), cv2.resize(mask_of(number), size[::-1]))
    folder = Path.cwd() / name
    return {"name": name, "images": str(folder / "images"), "masks": str(folder / "masks")}


def read(path: str) -> np.ndarray:
    picture = cv2.imread(path)
    assert picture is not None
    return picture[..., ::-1]


def num_columns(picture: np.ndarray) -> int:
    return (picture.shape[1] + GAP) // (WIDTH + GAP)


def rows(done: Any) -> list[str]:
    return re.findall(r"^  row \d+: (.*)$", done.out, flags=re.M)


def figure_config(**changes: Any) -> DictConfig:
    """Return the options of the command ``visualize``, changed."""
    loaded = OmegaConf.merge(OmegaConf.load(CONFIGS / "visualize.yaml"), changes)
    assert isinstance(loaded, DictConfig)
    return loaded
