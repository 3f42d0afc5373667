"""The model against sam2's own image path, on prepared inputs and from JPEG files to maps."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipsam.engine.inference.files import predict_files
from ipsam.engine.inference.jobs import find_jobs
from ipsam.engine.inference.predictor import Predictor
from ipsam.model.baselines import NullPrompt
from ipsam.tools.benchmark import Report
from ipsam.tools.benchmark.inputs import PHOTOGRAPH, experiment, forward_pass, predictor_of, random_model, write_pairs
from ipsam.tools.benchmark.measure import GB, bytes_of, peak_memory, report, side_by_side
from ipsam.tools.benchmark.options import BenchmarkOptions
from ipsam.tools.benchmark.peers import predict_one_by_one, sam2_path, sam2_predictor

DEFAULTS = {
    "cpu": {"sizes": (512,), "batches": (1,), "repeats": 5},
    "cuda": {"sizes": (512, 1024), "batches": (1, 8), "repeats": 20},
}
Row = dict[str, Any]
NUM_FILES = {"cpu": 3, "cuda": 8}
NOTES = """\
Random weights: speed does not depend on them. Medians of {repeats} turns, all columns in turn in one run. ipsam: the
predictor's model on a prepared input; plain: the trained model, LoRA not merged, nothing prepared; sam2: its own image
encoder, prompt encoder without a prompt and mask decoder, with the same weights. GB: peak of one forward pass, weights
included. Files: ipsam's predict_files on photographs of 768 x 1024; sam2's SAM2ImagePredictor as in its examples, files
opened and saved by Pillow (with our PNG compression), with one point in the centre."""


def benchmark(options: BenchmarkOptions) -> Report:
    """Time forward passes at each size, precision and batch size, and files at each size and precision."""
    forward: list[Row] = []
    files: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder), NUM_FILES[options.device.type] * [PHOTOGRAPH])
        for size in options.sizes:
            plain = random_model(experiment(options.variant, size)).to(options.device)
            sam2 = sam2_path(plain.backbone, variant=options.variant)
            for precision in ("fp32", "bf16"):
                predictor = predictor_of(plain, options.device, precision=precision)
                models: dict[str, Any] = {"ipsam": predictor.model, "plain": plain, "sam2": sam2}
                if options.compile and (size, precision) == (max(options.sizes), options.precision):
                    models["compiled"] = predictor_of(plain, options.device, precision=precision, compiled=True).model
                for batch in options.batches:
                    forward.append(_forward(models, options, size, precision, batch))
                    models.pop("compiled", None)  # each shape is compiled separately, for minutes
                files.append(_files(sam2, predictor, options, precision, Path(folder)))
    notes = NOTES.format(repeats=options.repeats)
    return report([forward, files], notes, "ipsam", "torch", "sam2", "peft", options=options)


def _forward(
    models: dict[str, Any], options: BenchmarkOptions, size: int, precision: str, batch: int
) -> dict[str, Any]:
    tasks = {name: forward_pass(model, batch, size, options.device, precision) for name, model in models.items()}
    seconds = side_by_side(tasks, repeats=options.repeats)
    row = {"input": size, "precision": precision, "batch": batch}
    row |= {f"{name}, images/s": batch / taken for name, taken in seconds.items()}
    row["ipsam/sam2"] = seconds["sam2"] / seconds["ipsam"]
    for name in ("ipsam", "sam2"):
        row[f"{name}, GB"] = (peak_memory(tasks[name], options.device) + bytes_of(models[name])) / GB
    return row


def _files(sam2: NullPrompt, predictor: Predictor, options: BenchmarkOptions, precision: str, folder: Path) -> Row:
    jobs = find_jobs(str(folder / "images"), folder / "ours", ["map"])
    peer, files = sam2_predictor(sam2), [job.source for job in jobs]
    for each in ("ours", "sam2"):
        (folder / each).mkdir(exist_ok=True)
    bf16 = precision == "bf16"
    tasks: dict[str, Callable[[], object]] = {
        "ipsam": lambda: predict_files(predictor, jobs, overwrite=True),
        "SAM2ImagePredictor": lambda: predict_one_by_one(
            peer, files, folder / "sam2", device=options.device, bf16=bf16
        ),
    }
    seconds = side_by_side(tasks, repeats=options.repeats)
    row = {"input, from files": predictor.image_size, "precision": precision}
    row |= {f"{name}, files/s": len(files) / taken for name, taken in seconds.items()}
    return row | {"ipsam/sam2": seconds["SAM2ImagePredictor"] / seconds["ipsam"]}
