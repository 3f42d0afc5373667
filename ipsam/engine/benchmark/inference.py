"""The model against sam2's own way of an image, on prepared inputs and from JPEG files to maps."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ipsam.engine.benchmark.models import experiment, forward_pass, network_inputs, predictor_of, random_model
from ipsam.engine.benchmark.peaks import GB, held_by, peak_of
from ipsam.engine.benchmark.peers import TransformersSAM2, predict_one_by_one, sam2_path, sam2_predictor
from ipsam.engine.benchmark.pictures import write_pairs
from ipsam.engine.benchmark.request import Defaults, Report, Request, request_of
from ipsam.engine.benchmark.timing import environment, side_by_side
from ipsam.engine.device import uses_bf16
from ipsam.engine.predict_files import find_jobs, predict_files
from ipsam.engine.tables import markdown
from ipsam.model import IPSAM

PRECISIONS = ("fp32", "bf16")
PACKAGES = ("ipsam", "torch", "sam2", "transformers", "peft")
ON_CPU = Defaults(sizes=(512,), batches=(1,), repeats=5)
ON_CUDA = Defaults(sizes=(512, 1024), batches=(1, 8), repeats=20)
NUM_FILES = {"cpu": 3, "cuda": 24}
NOTES = """\
Random weights: speed does not depend on them. Medians of {repeats} turns, all columns in turn in one run. ipsam: the
predictor's model on a prepared input; plain: the model as it was trained, LoRA apart, nothing prepared; SAM2: its
own image encoder, prompt encoder without a prompt and mask decoder, with the same weights; transformers: its Sam2Model
with one point. GB: peak of one forward pass, weights included. Files: ipsam's predict_files on photographs of 768 x
1024; sam2's SAM2ImagePredictor as its examples use it, opened and saved by Pillow, with one point in the centre."""


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
    for size in request.sizes:
        model = random_model(experiment(request.configs, variant=request.variant, image_size=size))
        model.to(request.device)
        default = "bf16" if uses_bf16("auto", request.device) else "fp32"
        for precision in PRECISIONS:
            compiles = request.compile and size == max(request.sizes) and precision == default
            rows += _forward_rows(model, request, precision, compiles=compiles)
            files.append(_files_row(model, request, precision))
    about = environment(*PACKAGES, device=request.device) | {"variant": request.variant}
    notes = [NOTES.format(repeats=request.repeats), ", ".join(f"{name} {value}" for name, value in about.items())]
    text = "\n\n".join([_forward_table(rows), _files_table(files), "\n".join(notes)])
    return text, {"environment": about, "forward": rows, "files": files}


def _forward_rows(model: IPSAM, request: Request, precision: str, *, compiles: bool) -> list[dict[str, Any]]:
    device, size = request.device, model.backbone.image_size
    models: dict[str, Any] = {
        "ipsam": predictor_of(model, device=device, precision=precision).model,
        "plain": model,
        "sam2": sam2_path(model.backbone, variant=request.variant),
        "transformers": TransformersSAM2(model.backbone).to(device),
    }
    rows = []
    for batch in request.batches:
        if compiles and batch == request.batches[0]:  # each shape is compiled for itself, for minutes
            models["compiled"] = predictor_of(model, device=device, precision=precision, compiled=True).model
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


def _files_row(model: IPSAM, request: Request, precision: str) -> dict[str, Any]:
    device, num_files = request.device, NUM_FILES["cuda" if request.device.type == "cuda" else "cpu"]
    predictor = predictor_of(model, device=device, precision=precision)
    peer = sam2_predictor(sam2_path(model.backbone, variant=request.variant))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [pair.image for pair in write_pairs(folder, num_files)]
        jobs = find_jobs(str(folder / "images"), folder / "ours", ["map"])
        for each in ("ours", "sam2"):
            (folder / each).mkdir()
        tasks: dict[str, Callable[[], object]] = {
            "ipsam": lambda: predict_files(predictor, jobs, overwrite=True),
            "sam2": lambda: predict_one_by_one(peer, paths, folder / "sam2", device=device, bf16=precision == "bf16"),
        }
        seconds = side_by_side(tasks, repeats=max(1, request.repeats // 3), device=device)
    return {
        "size": model.backbone.image_size,
        "precision": precision,
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
