"""Evaluation end to end against predicting alone and scoring alone."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ipsam.data import TestSet
from ipsam.data.items import name_of
from ipsam.data.saved_maps.map_pairs import SavedMap
from ipsam.data.sources import FolderSource, SubsetSource
from ipsam.engine.evaluate.evaluator import Predicted, evaluate, predict
from ipsam.engine.evaluate.scoring import Job, score_set
from ipsam.engine.metrics import Protocol
from ipsam.tools.benchmark import Report
from ipsam.tools.benchmark.inputs import PHOTOGRAPH, experiment, random_model, write_pairs
from ipsam.tools.benchmark.measure import one_thread, report, side_by_side
from ipsam.tools.benchmark.options import BenchmarkOptions

ON_ANY: dict[str, Any] = {"variant": "micro", "sizes": (160,), "batches": (8,), "repeats": 2}
DEFAULTS = {"cpu": ON_ANY, "cuda": ON_ANY}
NUM_FILES = 20  # different ones
EVALUATION, PREDICTING = "evaluation", "predicting alone"
SCORING, FROM_MEMORY = "scoring alone", "scoring from memory"
NOTES = """\
{num_images} photographs of 768 x 1024, {num_files} different ones; random weights; one thread, one process that
reads, one that scores; medians of {repeats} turns. Predicting: the same without scoring. Scoring: from saved maps by
one process, as ipsam score does it; from memory: without decoding maps and masks."""


def benchmark(options: BenchmarkOptions) -> Report:
    """Time ``evaluate``, and compute its ratio to the slower of its two halves."""
    with one_thread():
        rows = [_row(options, size, batch) for size in options.sizes for batch in options.batches]
        notes = NOTES.format(num_images=options.images, num_files=NUM_FILES, repeats=options.repeats)
        return report([rows], notes, "ipsam", "torch", options=options)


def _row(options: BenchmarkOptions, size: int, batch: int) -> dict[str, Any]:
    protocol, model = Protocol(), random_model(experiment(options.variant, size)).to(options.device)
    how: dict[str, Any] = {"device": options.device, "bf16": options.precision == "bf16", "batch_size": batch}
    with tempfile.TemporaryDirectory() as folder:
        files = FolderSource(write_pairs(Path(folder), NUM_FILES * [PHOTOGRAPH]))
        evaluate(model, {"maps": TestSet(files, image_size=size)}, **how, num_workers=0, maps=Path(folder))
        order = [index % NUM_FILES for index in range(options.images)]
        test_set = TestSet(SubsetSource(files, order), image_size=size)
        pairs = [(pair.stem, name_of(pair.mask)) for pair in files.pairs]
        maps = [SavedMap(stem, Path(folder) / "maps" / f"{stem}.png", mask) for stem, mask in pairs]
        in_memory = [Predicted(*saved()) for saved in maps]

        def predict_all() -> None:
            for _ in predict(model, test_set, protocol=protocol, **how, num_workers=1):
                pass

        def score(jobs: Iterable[Job]) -> None:
            score_set("maps", jobs, options.images, protocol=protocol, num_workers=1)

        tasks: dict[str, Callable[[], object]] = {
            EVALUATION: lambda: evaluate(model, {"photographs": test_set}, **how, num_workers=1),
            PREDICTING: predict_all,
            SCORING: lambda: score([maps[index] for index in order]),
            FROM_MEMORY: lambda: score(in_memory[index] for index in order),
        }
        seconds = side_by_side(tasks, repeats=options.repeats)
    row = {"input": size, "batch": batch, **{f"{name}, s": taken for name, taken in seconds.items()}}
    for title, half in (("times the slower", SCORING), ("the same, from memory", FROM_MEMORY)):
        row[title] = seconds[EVALUATION] / max(seconds[PREDICTING], seconds[half])
    return row
