"""The model against sam2's own way of an image, on prepared inputs and from JPEG files to maps."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipsam.engine.inference.files import find_jobs, predict_files
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.metrics.tables import markdown
from ipsam.model.baselines import NullPrompt
from ipsam.tools.benchmark.memory import GB, held_by, peak_of
from ipsam.tools.benchmark.models import (
    experiment,
    forward_pass,
    network_inputs,
    precision_of,
    predictor_of,
    random_model,
)
from ipsam.tools.benchmark.peers import TransformersSAM2, predict_one_by_one, sam2_path, sam2_predictor
from ipsam.tools.benchmark.photographs import PHOTOGRAPH, write_pairs
from ipsam.tools.benchmark.request import Defaults, Report, Request, request_of
from ipsam.tools.benchmark.timing import environment, side_by_side
from ipsam.utils.device import uses_bf16

PRECISIONS = ("fp32", "bf16")
PACKAGES = ("ipsam", "torch", "sam2", "transformers", "peft")
ON_CPU = Defaults(sizes=(512,), batches=(1,), repeats=5)
ON_CUDA = Defaults(sizes=(512, 1024), batches=(1, 8), repeats=20)
NUM_FILES = {"cpu": 3, "cuda": 8}
NOTES = """\
Random weights: speed does not depend on them. Medians of {repeats} turns, all columns in turn in one run. ipsam: the
predictor's model on a prepared input; plain: the model as it was trained, LoRA apart, nothing prepared; SAM2: its
own image encoder, prompt encoder without a prompt and mask decoder, with the same weights; transformers: its Sam2Model
with one point. GB: peak of one forward pass, weights included. Files: ipsam's predict_files on photographs of 768 x
1024; sam2's SAM2ImagePredictor as its examples use it, opened and saved by Pillow (packed as much as ours), with one
point in the centre."""


def benchmark_inference(**options: Any) -> Report:
    """Images per second at each size, precision and batch, and of files at each size and precision.

    Args:
        options: as of ``request_of``.

    Returns:
        Markdown tables, and the same as data.

    Raises:
        ValueError: as ``request_of`` does.
    """
    request = request_of(ON_CPU, ON_CUDA, **options)
    rows: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    default = "bf16" if uses_bf16("auto", request.device) else "fp32"
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder), _num_files(request) * [PHOTOGRAPH])
        for size in request.sizes:
            models = _models(request, size)
            for precision in PRECISIONS:
                compiles = request.compile and size == max(request.sizes) and precision == default
                predictor = predictor_of(models["plain"], device=request.device, precision=precision)
                rows += _forward_rows(models, predictor, request, compiles=compiles)
                files.append(_files_row(models["sam2"], predictor, request, Path(folder)))
    about = environment(*PACKAGES, device=request.device) | {"variant": request.variant}
    notes = [NOTES.format(repeats=request.repeats), ", ".join(f"{name} {value}" for name, value in about.items())]
    text = "\n\n".join([_forward_table(rows), _files_table(files), "\n".join(notes)])
    return text, {"environment": about, "forward": rows, "files": files}


def _num_files(request: Request) -> int:
    return NUM_FILES["cuda" if request.device.type == "cuda" else "cpu"]


def _models(request: Request, size: int) -> dict[str, Any]:
    """The model as trained, and its peers, by the names of their columns."""
    model = random_model(experiment(request.configs, variant=request.variant, image_size=size)).to(request.device)
    return {
        "plain": model,
        "sam2": sam2_path(model.backbone, variant=request.variant),
        "transformers": TransformersSAM2(model.backbone).to(request.device),
    }


def _forward_rows(
    models: dict[str, Any], predictor: Predictor, request: Request, *, compiles: bool
) -> list[dict[str, Any]]:
    device, size, precision = request.device, predictor.image_size, precision_of(predictor)
    models = {"ipsam": predictor.model, **models}
    rows = []
    for batch in request.batches:
        if compiles and batch == request.batches[0]:  # each shape is compiled for itself, for minutes
            compiled = predictor_of(models["plain"], device=device, precision=precision, compiled=True)
            models["compiled"] = compiled.model
        image = network_inputs(batch, size, device)
        tasks = {name: forward_pass(each, image, precision=precision) for name, each in models.items()}
        seconds = side_by_side(tasks, repeats=request.repeats, device=device)
        peaks = {name: peak_of(tasks[name], device) + held_by(models[name]) for name in ("ipsam", "sam2")}
        models.pop("compiled", None)
        rows.append(
            {
                "size": size,
                "precision": precision,
                "batch": batch,
                "images_per_second": {name: batch / taken for name, taken in seconds.items()},
                "ratio_to_sam2": seconds["sam2"] / seconds["ipsam"],
                "peak_gb": {name: peak / GB for name, peak in peaks.items()},
            }
        )
    return rows


def _files_row(sam2: NullPrompt, predictor: Predictor, request: Request, folder: Path) -> dict[str, Any]:
    device, num_files = request.device, _num_files(request)
    jobs = find_jobs(str(folder / "images"), folder / "ours", ["map"])
    peer, files = sam2_predictor(sam2), [job.source for job in jobs]
    for each in ("ours", "sam2"):
        (folder / each).mkdir(exist_ok=True)
    tasks: dict[str, Callable[[], object]] = {
        "ipsam": lambda: predict_files(predictor, jobs, overwrite=True),
        "sam2": lambda: predict_one_by_one(peer, files, folder / "sam2", device=device, bf16=predictor.bf16),
    }
    seconds = side_by_side(tasks, repeats=request.repeats, device=device)
    return {
        "size": predictor.image_size,
        "precision": precision_of(predictor),
        "num_files": num_files,
        "files_per_second": {name: num_files / taken for name, taken in seconds.items()},
        "ratio_to_sam2": seconds["sam2"] / seconds["ipsam"],
    }


def _forward_table(rows: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row["images_per_second"]))
    header = ["input", "precision", "batch", *(f"{name}, images/s" for name in names), "ipsam/SAM2", "GB", "SAM2's GB"]
    cells = [
        [
            *(str(row[name]) for name in ("size", "precision", "batch")),
            *(f"{row['images_per_second'][name]:.3g}" if name in row["images_per_second"] else "" for name in names),
            f"{row['ratio_to_sam2']:.2f}",
            *(f"{row['peak_gb'][name]:.2f}" for name in ("ipsam", "sam2")),
        ]
        for row in rows
    ]
    return markdown(header, cells)


def _files_table(rows: list[dict[str, Any]]) -> str:
    header = ["input, from files", "precision", "ipsam, files/s", "SAM2ImagePredictor, files/s", "ipsam/SAM2"]
    cells = [
        [
            *(str(row[name]) for name in ("size", "precision")),
            *(f"{row['files_per_second'][name]:.3g}" for name in ("ipsam", "sam2")),
            f"{row['ratio_to_sam2']:.2f}",
        ]
        for row in rows
    ]
    return markdown(header, cells)
