"""The training loop against a straightforward one: images per second, memory, and equal losses."""

import copy
import gc
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from accelerate.state import AcceleratorState, GradientState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ipsam.data import EpochSampler, TrainSet
from ipsam.data.pairs import Pair
from ipsam.data.sources import FolderSource
from ipsam.data.transforms import Augment
from ipsam.engine.runs.configuration import settings_of
from ipsam.engine.runs.settings import Settings
from ipsam.engine.runs.trackers import Trackers
from ipsam.engine.train.trainer import train
from ipsam.model import IPSAM
from ipsam.tools.benchmark import Report
from ipsam.tools.benchmark.inputs import experiment, random_model, write_pairs
from ipsam.tools.benchmark.measure import GB, bytes_of, peak_memory, report
from ipsam.tools.benchmark.options import BenchmarkOptions
from ipsam.tools.benchmark.straightforward import PlainPairs, train_straightforwardly

DEFAULTS = {
    "cpu": {"sizes": (512,), "batches": (1,), "repeats": 1},
    "cuda": {"sizes": (1024,), "batches": (1,), "repeats": 3},
}
NUM_STEPS = {"cpu": 3, "cuda": 15}  # timed, after as many that are not
NUM_COMPARED = 3  # steps whose losses are compared
NUM_FILES = 8
STRAIGHTFORWARD = "straightforward loop, fp32"
IN_BF16 = "straightforward loop, bf16"
NOTES = """\
The experiment's own settings, random weights, generated images of the network's size, read in the loop's own process.
Speed over {num_steps} steps after as many that do not count, the median of {repeats} such runs, all rows in turn.
Straightforward: LoRA by peft, Pillow and torchvision, AdamW neither fused nor foreach, the loss read at each
step; ipsam reads it before and after the timed steps. Peak GB: weights, AdamW's moments and what a step allocates;
step: that alone.
Losses of both loops over {num_compared} steps in fp32: at most {difference:.1e} of their value apart."""
Logged = list[tuple[float, float]]  # time in seconds and loss of each logged step


def benchmark(options: BenchmarkOptions) -> Report:
    """Time our loop with several settings beside the straightforward loop, at each size and batch size."""
    rows, differences = [], []
    for size in options.sizes:
        for batch in options.batches:
            with tempfile.TemporaryDirectory() as folder:
                task = prepared(options, size, batch, Path(folder))
                rows += _rows(task, options)
                differences.append(_loss_difference(task))
    notes = NOTES.format(
        num_steps=NUM_STEPS[options.device.type],
        repeats=options.repeats,
        num_compared=NUM_COMPARED,
        difference=max(differences),
    )
    packages = ("ipsam", "torch", "accelerate", "peft")
    return report([rows], notes, *packages, options=options, loss_differences=differences)


@dataclass(frozen=True)
class Task:
    """Model, settings and files of a run; the files have the network's size, so that nothing is resized."""

    model: IPSAM
    settings: Settings
    files: Sequence[Pair]

    def ours(self, num_steps: int, **changes: Any) -> Logged:
        """Train by our loop, with some settings changed."""
        settings, model, pairs = self._prepare(num_steps, changes)
        size = model.backbone.image_size
        augment = settings_of(Augment, {"hflip": 0.0}, "data.augment")
        data = TrainSet(FolderSource(pairs), image_size=size, augment=augment, seed=0)
        AcceleratorState._reset_state(reset_partial_state=True)  # it keeps the precision of a process's first run
        GradientState._reset_state()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with Trackers(["tensorboard"], folder) as trackers:
                train(model, data, settings=settings, folder=folder, config="model: {}\n", seed=0, trackers=trackers)
            events = EventAccumulator(str(folder / "tensorboard")).Reload().Scalars("loss/total")
        return [(event.wall_time, event.value) for event in events]

    def straightforward(self, num_steps: int, **changes: Any) -> Logged:
        """Train by the straightforward loop."""
        settings, model, pairs = self._prepare(num_steps, changes)
        data = PlainPairs(pairs, image_size=model.backbone.image_size)
        order, device = EpochSampler(len(pairs), seed=0), next(model.parameters()).device
        return train_straightforwardly(model, data, order=order, device=device, settings=settings)

    def _prepare(self, num_steps: int, changes: dict[str, Any]) -> tuple[Settings, IPSAM, list[Pair]]:
        gc.collect()  # accelerate leaves cycles, which hold the last run's memory
        num_items = num_steps * self.settings.batch_size
        pairs = [self.files[index % len(self.files)] for index in range(num_items)]
        return self.settings.model_copy(update=changes), copy.deepcopy(self.model), pairs


def prepared(options: BenchmarkOptions, size: int, batch: int, folder: Path) -> Task:
    """Build a model with random weights and write its images to a folder."""
    runs_on = [f"engine.cpu={options.device.type == 'cpu'}", "engine.num_workers=0", "engine.epochs=1"]
    config = experiment(options.variant, size, *runs_on, f"engine.batch_size={batch}")
    settings = settings_of(Settings, config.engine, "engine")
    return Task(random_model(config).to(options.device), settings, write_pairs(folder, NUM_FILES * [(size, size)]))


def _rows(task: Task, options: BenchmarkOptions) -> list[dict[str, Any]]:
    runs: dict[str, Callable[..., Logged]] = {"ipsam": task.ours}
    if task.settings.bf16:
        runs["ipsam, fp32"] = partial(task.ours, precision="fp32")
    runs["ipsam, activation checkpointing"] = partial(task.ours, activation_checkpointing=True)
    if options.compile:
        runs["ipsam, compiled"] = partial(task.ours, compile=True)
    if task.settings.bf16:
        runs[IN_BF16] = task.straightforward
    runs[STRAIGHTFORWARD] = partial(task.straightforward, precision="fp32")
    num_steps, batch, size = NUM_STEPS[options.device.type], task.settings.batch_size, task.model.backbone.image_size
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.repeats):
        for name, run in runs.items():
            (began, _), (ended, _) = run(2 * num_steps, log_every=num_steps)
            times[name].append((ended - began) / num_steps)
    seconds = {name: median(taken) for name, taken in times.items()}
    moments = 2 * sum(parameter.nbytes for parameter in task.model.parameters() if parameter.requires_grad)
    rows = []
    for name, run in runs.items():
        copied = bytes_of(task.model)
        allocated = peak_memory(lambda run=run: run(2, log_every=2), options.device) - copied  # type: ignore[misc]
        row = {"loop": name, "input": size, "batch": batch, "images/s": batch / seconds[name]}
        row |= {"times faster": seconds[STRAIGHTFORWARD] / seconds[name]}
        row |= {"seconds, of ipsam's": seconds[name] / seconds["ipsam"]}
        rows.append(row | {"peak GB": (copied + allocated) / GB, "step GB": (allocated - moments) / GB})
    return rows


def _loss_difference(task: Task) -> float:
    """Return the largest relative difference between both loops' losses, in fp32 and without warm-up."""
    changes = {"warmup_steps": 0, "precision": "fp32", "log_every": 1}
    both = zip(task.ours(NUM_COMPARED, **changes), task.straightforward(NUM_COMPARED, **changes), strict=True)
    return max(abs(own - other) / abs(other) for (_, own), (_, other) in both)
