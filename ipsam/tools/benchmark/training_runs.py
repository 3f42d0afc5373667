"""One run of the real training loop, and one of the straightforward loop, watched."""

import copy
import gc
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, GradientState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ipsam.data import EpochSampler, TrainSet
from ipsam.data.pairs import Pair
from ipsam.data.sources import FolderSource
from ipsam.data.transforms import Augment
from ipsam.engine.runs.configuration import settings_of
from ipsam.engine.runs.settings import Settings
from ipsam.engine.train.trainer import train
from ipsam.model import IPSAM
from ipsam.tools.benchmark.step_timer import Watch, WatchedSource
from ipsam.tools.benchmark.straightforward import PlainPairs, train_straightforwardly

SEED = 0  # of the order of the images


@dataclass(frozen=True)
class Task:
    """What every run starts from.

    Attributes:
        model: copied for each run.
        settings: of an experiment, for one epoch.
        pairs: files of the network's size, so that nothing is resized.
        image_size: side of the square input in pixels.
        device: where to compute.
    """

    model: IPSAM
    settings: Settings
    pairs: Sequence[Pair]
    image_size: int
    device: torch.device

    def of_length(self, num_items: int) -> list[Pair]:
        """The pairs, gone through again and again."""
        return [self.pairs[index % len(self.pairs)] for index in range(num_items)]


def run_trainer(task: Task, watch: Watch, **changes: Any) -> None:
    """The real loop, with some settings changed."""
    with tempfile.TemporaryDirectory() as folder:
        _train(task, watch, watch.num_items, Path(folder), **changes)


def run_straightforward(task: Task, watch: Watch) -> None:
    """The straightforward loop."""
    _train_straightforwardly(task, watch, watch.num_items)


def losses_of_both(task: Task, watch: Watch, num_steps: int) -> tuple[list[float], list[float]]:
    """The real loop's loss at each step, and the straightforward loop's, both in fp32.

    The learning rate does not rise slowly, as else the first steps would change next to nothing.
    """
    task = replace(
        task, settings=task.settings.model_copy(update={"warmup_steps": 0, "precision": "fp32", "log_every": 1})
    )
    num_items = num_steps * task.settings.batch_size
    with tempfile.TemporaryDirectory() as folder:
        _train(task, watch, num_items, Path(folder))
        events = EventAccumulator(str(Path(folder) / "tensorboard")).Reload()
        ours = [event.value for event in events.Scalars("loss/total")]
    return ours, _train_straightforwardly(task, watch, num_items)


def _train(task: Task, watch: Watch, num_items: int, folder: Path, **changes: Any) -> None:
    source = WatchedSource(FolderSource(task.of_length(num_items)), asked=watch)
    augment = settings_of(Augment, {"hflip": 0.0}, "data.augment")
    train_set = TrainSet(source, image_size=task.image_size, augment=augment, seed=SEED)
    gc.collect()  # accelerate leaves cycles behind, which hold the last run's memory
    AcceleratorState._reset_state(reset_partial_state=True)  # it keeps the precision of a process's first run
    GradientState._reset_state()
    settings = task.settings.model_copy(update=changes)
    train(copy.deepcopy(task.model), train_set, settings=settings, folder=folder, config="model: {}\n", seed=SEED)


def _train_straightforwardly(task: Task, watch: Watch, num_items: int) -> list[float]:
    gc.collect()
    settings = task.settings
    num_steps = num_items // settings.batch_size
    return train_straightforwardly(
        copy.deepcopy(task.model),
        PlainPairs(task.of_length(num_items), image_size=task.image_size, asked=watch),
        order=EpochSampler(num_items, seed=SEED),
        batch_size=settings.batch_size,
        device=task.device,
        lr_at=lambda step: settings.lr_at(step, num_steps),
        weight_decay=settings.weight_decay,
        clip=settings.clip,
        weights=settings.loss,
    )
