"""Evaluation end to end against what it consists of: predicting alone, and scoring alone."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from ipsam.data import TestSet
from ipsam.data.saved_maps.map_pairs import SavedMap
from ipsam.data.sources import FolderSource, SubsetSource
from ipsam.engine.evaluate.evaluator import Predicted, evaluate, predict
from ipsam.engine.evaluate.scoring import Job, score_set
from ipsam.engine.metrics import Protocol
from ipsam.engine.metrics.tables import markdown
from ipsam.tools.benchmark.models import experiment, random_model
from ipsam.tools.benchmark.photographs import PHOTOGRAPH, write_pairs
from ipsam.tools.benchmark.request import Defaults, Report, Request, request_of
from ipsam.tools.benchmark.timing import environment, side_by_side
from ipsam.utils.device import uses_bf16

ON_CPU = ON_CUDA = Defaults(sizes=(160,), batches=(8,), repeats=2)
EVALUATION, PREDICTING = "evaluation", "predicting alone"
SCORING, FROM_MEMORY = "scoring alone", "scoring from memory"
TIMED = (EVALUATION, PREDICTING, SCORING, FROM_MEMORY)
NUM_IMAGES = 1000
NUM_FILES = 20  # different ones
NOTES = """\
{num_images} photographs of 768 x 1024, {num_files} different ones; random weights; one thread, one process that
reads, one that scores; medians of {repeats} turns. Predicting: the same without scoring. Scoring: score.py's
way, from saved maps, by one process; from memory: without the decoding of maps and masks."""


def benchmark_evaluation(*, variant: str = "micro", **options: Any) -> Report:
    """Seconds of ``evaluate``, and its ratio to the slower of its two halves.

    Args:
        variant: of the backbone.
        options: others of ``request_of``.

    Returns:
        A Markdown table, and the same as data.

    Raises:
        ValueError: as ``request_of`` does.
    """
    request = request_of(ON_CPU, ON_CUDA, variant=variant, **options)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [_row(request, size, batch) for size in request.sizes for batch in request.batches]
        about = environment("ipsam", "torch", device=request.device) | {"variant": request.variant}
    finally:
        torch.set_num_threads(threads)
    header = ["input", "batch", *(f"{name}, s" for name in TIMED), "times the slower", "the same, from memory"]
    cells = [
        [
            *(str(row[name]) for name in ("size", "batch")),
            *(f"{row['seconds'][name]:.2f}" for name in TIMED),
            *(f"{row[name]:.2f}" for name in ("ratio", "ratio_from_memory")),
        ]
        for row in rows
    ]
    notes = [
        NOTES.format(num_images=NUM_IMAGES, num_files=NUM_FILES, repeats=request.repeats),
        ", ".join(f"{name} {value}" for name, value in about.items()),
    ]
    return "\n\n".join([markdown(header, cells), "\n".join(notes)]), {"environment": about, "rows": rows}


def _row(request: Request, size: int, batch: int) -> dict[str, Any]:
    device, protocol = request.device, Protocol()
    model = random_model(experiment(request.configs, variant=request.variant, image_size=size)).to(device)
    how: dict[str, Any] = {"device": device, "bf16": uses_bf16("auto", device), "batch_size": batch, "num_workers": 1}
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(Path(folder), NUM_FILES * [PHOTOGRAPH])
        files = FolderSource(pairs)
        evaluate(model, {"maps": TestSet(files, image_size=size)}, **how | {"num_workers": 0}, maps=Path(folder))
        order = [index % NUM_FILES for index in range(NUM_IMAGES)]
        test_set = TestSet(SubsetSource(files, order), image_size=size)
        maps = Path(folder) / "maps"
        jobs = [SavedMap(pair.stem, maps / f"{pair.stem}.png", pair.mask) for pair in (pairs[index] for index in order)]
        made = [Predicted(*job()) for job in jobs[:NUM_FILES]]

        def predict_all() -> None:
            for _ in predict(model, test_set, protocol=protocol, **how):
                pass

        def score(jobs: Iterable[Job]) -> None:
            score_set("maps", jobs, NUM_IMAGES, protocol=protocol, num_workers=1)

        tasks: dict[str, Callable[[], object]] = {
            EVALUATION: lambda: evaluate(model, {"photographs": test_set}, **how),
            PREDICTING: predict_all,
            SCORING: lambda: score(jobs),
            FROM_MEMORY: lambda: score(made[index] for index in order),
        }
        seconds = side_by_side(tasks, repeats=request.repeats, device=device)
    ratio, from_memory = (
        seconds[EVALUATION] / max(seconds[PREDICTING], seconds[half]) for half in (SCORING, FROM_MEMORY)
    )
    return {"size": size, "batch": batch, "seconds": seconds, "ratio": ratio, "ratio_from_memory": from_memory}
