"""The real training loop against the straightforward one: images per second, memory, and the same losses."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.configuration import settings_of
from ipsam.engine.runs.settings import Settings
from ipsam.tools.benchmark.memory import GB, held_by
from ipsam.tools.benchmark.models import experiment, random_model
from ipsam.tools.benchmark.photographs import write_pairs
from ipsam.tools.benchmark.request import Defaults, Report, Request, request_of
from ipsam.tools.benchmark.step_timer import Watch
from ipsam.tools.benchmark.timing import environment
from ipsam.tools.benchmark.training_runs import Task, losses_of_both, run_straightforward, run_trainer

ON_CPU = Defaults(sizes=(512,), batches=(1,), repeats=1)
ON_CUDA = Defaults(sizes=(1024,), batches=(1,), repeats=3)
WARM_UP = {"cpu": 1, "cuda": 3}
NUM_STEPS = {"cpu": 3, "cuda": 15}
NUM_COMPARED = 3  # steps whose losses are compared
NUM_PICTURES = 8  # different ones
STRAIGHTFORWARD = "straightforward loop, fp32"
ROWS: dict[str, dict[str, Any]] = {  # what each changes of the settings
    "ipsam": {},
    "ipsam, fp32": {"precision": "fp32"},
    "ipsam, activation checkpointing": {"activation_checkpointing": True},
}
COMPILED: dict[str, dict[str, Any]] = {"ipsam, compiled": {"compile": True}}
NOTES = """\
The experiment's own settings, random weights, generated images of the network's size, read in the loop's own process. A
step's seconds are told by when the loop asks for images: the median (GPU: mean) of {num_steps} steps after
{warm_up}, the median of {repeats} such runs, all rows taking turns. Straightforward: fp32, LoRA by peft, Pillow and
torchvision, AdamW neither fused nor by lists, the loss read at each step; ipsam reads it every 20 steps, mostly not
among those that count. Peak GB: weights, AdamW's moments and what a step allocates; step: that alone."""


def benchmark_training(**options: Any) -> Report:
    """Each row of ``ROWS`` beside the straightforward loop, at each size and batch.

    Args:
        options: as of ``request_of``.

    Returns:
        A Markdown table, and the same as data.

    Raises:
        ValueError: as ``request_of`` does.
    """
    request = request_of(ON_CPU, ON_CUDA, **options)
    kind = "cuda" if request.device.type == "cuda" else "cpu"
    rows = [row for size in request.sizes for batch in request.batches for row in _rows(request, size, batch)]
    about = environment("ipsam", "torch", "accelerate", "peft", device=request.device) | {"variant": request.variant}
    differences = [row["loss_difference"] for row in rows if "loss_difference" in row]
    notes = [
        NOTES.format(num_steps=NUM_STEPS[kind], warm_up=WARM_UP[kind], repeats=request.repeats),
        f"Losses of both loops over {NUM_COMPARED} steps in fp32: at most {max(differences):.1e} of their value apart.",
        ", ".join(f"{name} {value}" for name, value in about.items()),
    ]
    return "\n\n".join([_table(rows), "\n".join(notes)]), {"environment": about, "rows": rows}


def _rows(request: Request, size: int, batch: int) -> list[dict[str, Any]]:
    device = request.device
    kind = "cuda" if device.type == "cuda" else "cpu"
    runs_on = [f"engine.cpu={device.type == 'cpu'}", "engine.num_workers=0"]
    overrides = [*runs_on, f"engine.batch_size={batch}", "engine.epochs=1"]
    config = experiment(request.configs, variant=request.variant, image_size=size, overrides=overrides)
    settings = settings_of(Settings, config.engine, "engine")

    def watch(*, measures: bool = False) -> Watch:
        counts = {"warm_up": WARM_UP[kind], "num_steps": NUM_STEPS[kind]}
        return Watch(batch_size=batch, device=device, measures=measures, **counts)

    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder), NUM_PICTURES * [(size, size)])
        task = Task(random_model(config), settings, pairs, size, device)
        changes = ROWS | (COMPILED if request.compile else {})
        if not settings.bf16:
            changes = {name: change for name, change in changes.items() if "precision" not in change}
        runs: dict[str, Callable[[Watch], None]] = {
            name: partial(run_trainer, task, **change) for name, change in changes.items()
        }
        runs[STRAIGHTFORWARD] = partial(run_straightforward, task)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        steps: dict[str, int] = {}
        for turn in range(request.repeats):
            for name, run in runs.items():
                watched = watch(measures=turn == 0)
                run(watched)
                seconds[name].append(watched.seconds)
                if watched.peak is not None:
                    steps[name] = watched.peak
        ours, theirs = losses_of_both(task, watch(), NUM_COMPARED)
    held = held_by(task.model, trains=True)
    plain = median(seconds[STRAIGHTFORWARD])
    difference = max(abs(own - other) / abs(other) for own, other in zip(ours, theirs, strict=True))
    return [
        {
            "size": size,
            "batch": batch,
            "loop": name,
            "images_per_second": batch / median(taken),
            "times_straightforward": plain / median(taken),
            "times_ipsam": median(taken) / median(seconds["ipsam"]),
            "peak_gb": (held + steps[name]) / GB,
            "step_gb": steps[name] / GB,
            **({"loss_difference": difference} if name == "ipsam" else {}),
        }
        for name, taken in seconds.items()
    ]


def _table(rows: list[dict[str, Any]]) -> str:
    header = ["loop", "input", "batch", "images/s", "times faster", "seconds, of ipsam's", "peak GB", "step GB"]
    cells = [
        [
            *(str(row[name]) for name in ("loop", "size", "batch")),
            f"{row['images_per_second']:.3g}",
            *(f"{row[name]:.2f}" for name in ("times_straightforward", "times_ipsam", "peak_gb", "step_gb")),
        ]
        for row in rows
    ]
    return markdown(header, cells)
