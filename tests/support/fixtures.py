"""Small data and settings for the engine's tests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
from accelerate.state import AcceleratorState, GradientState
from omegaconf import DictConfig, OmegaConf

from ipsam.data import Data, TestSet, TrainSet
from ipsam.engine.runs import store
from ipsam.engine.runs.settings import Settings
from ipsam.engine.train import trainer
from ipsam.model import IPSAM
from support.defaults import data_with, settings_with
from support.experiments import CONFIGS, changeable
from support.training import PowerCutError, fit, model_of


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    """Accelerate keeps what the first Accelerator of a process chose; every test gets its own."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def scenes() -> Any:
    """Makes data of plainly visible synthetic scenes."""

    def make(num_train: int = 8, num_test: int = 3, *, hflip: float = 0.0) -> Data:
        return data_with(
            image_size=64,
            root=".",
            train=["synthetic"],
            test=["synthetic"],
            augment={"hflip": hflip},
            synthetic={"difficulty": [0.0, 0.1], "num_train": num_train, "num_test": num_test},
        )

    return make


@pytest.fixture
def train_set(scenes: Any) -> TrainSet:
    """Four scenes, others in each epoch."""
    return scenes(num_train=4, hflip=0.5).train_and_val(seed=0)[0]


@pytest.fixture
def test_set(scenes: Any) -> TestSet:
    """Three scenes."""
    return scenes().test_sets()["synthetic"]


@pytest.fixture
def make_settings() -> Any:
    """Settings for seconds on a CPU."""

    def make(**options: Any) -> Settings:
        given = {
            "epochs": 1,
            "batch_size": 2,
            "lr": 1e-3,
            "warmup_steps": 2,
            "cpu": True,
            "precision": "fp32",
            "num_workers": 0,
            "eval_batch_size": 2,
            "log_every": 1,
            "trackers": [],
        }
        return settings_with(**given | options)

    return make


@pytest.fixture
def train(tmp_path: Path, train_set: TrainSet, make_settings: Any) -> Any:
    """Trains a small model, in a folder below tmp_path, and returns it."""
    four_scenes = train_set

    def run(
        folder: str = "",
        *,
        seed: int = 1,
        model: IPSAM | None = None,
        train_set: TrainSet | None = four_scenes,
        val_set: TestSet | None = None,
        test_sets: dict[str, TestSet] | None = None,
        resume: bool = False,
        **settings: Any,
    ) -> IPSAM:
        model = model_of(seed) if model is None else model
        sets: dict[str, Any] = {"val_set": val_set, "test_sets": test_sets}
        return fit(model, train_set, tmp_path / folder, make_settings(**settings), **sets, resume=resume)

    return run


@pytest.fixture
def at_forward_pass(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls an action with the losses of training's n-th forward pass, once."""

    def install(number: int, action: Any) -> None:
        loss, calls = trainer.ipsam_loss, []

        def watched(*arguments: Any) -> Any:
            losses = loss(*arguments)
            calls.append(1)
            if len(calls) == number:
                action(losses)
            return losses

        monkeypatch.setattr(trainer, "ipsam_loss", watched)

    return install


@pytest.fixture
def untyped() -> Iterator[None]:
    """As users run it: without the type checks that would catch a wrong value before the code itself does."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Cuts training off behind the checkpoint of an optimiser step; undone by calling it with None."""
    save = store.save_checkpoint

    def after(step: int | None) -> None:
        def then_stop(folder: Path, model: IPSAM, *, config: str, training: Any) -> None:
            save(folder, model, config=config, training=training)
            if training["progress"]["step"] == step:
                raise PowerCutError

        monkeypatch.setattr(store, "save_checkpoint", save if step is None else then_stop)

    return after


@pytest.fixture
def run_config(tmp_path: Path) -> Any:
    """The quickstart's configuration, its run in tmp_path / run."""

    def compose(*overrides: str) -> DictConfig:
        config = changeable("quickstart", "run_dir=run", "engine.cpu=true", *overrides)
        config.run_dir = str(tmp_path / config.run_dir)
        return config

    return compose


@pytest.fixture
def eval_config(tmp_path: Path) -> Any:
    """What configs/eval.yaml holds, pointing to the run in tmp_path / run."""

    def load(**changes: Any) -> DictConfig:
        config = OmegaConf.load(CONFIGS / "eval.yaml")
        config.ckpt = str(tmp_path / "run")
        return OmegaConf.merge(config, changes)

    return load
