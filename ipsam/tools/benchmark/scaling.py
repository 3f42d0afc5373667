"""The cost of a forward pass against size, batch and number of images, and where it goes."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from ipsam.engine.inference.files import find_jobs, predict_files
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.metrics.tables import markdown
from ipsam.model.lora import merge_lora
from ipsam.tools.benchmark.memory import GB, held_by, peak_of
from ipsam.tools.benchmark.models import (
    experiment,
    forward_pass,
    network_inputs,
    precision_of,
    predictor_of,
    random_model,
)
from ipsam.tools.benchmark.parts import WHOLE, flops_of_parts, matrix_rate, seconds_of_parts, top_operators
from ipsam.tools.benchmark.photographs import PHOTOGRAPH, write_pairs
from ipsam.tools.benchmark.request import Defaults, Report, Request, request_of
from ipsam.tools.benchmark.timing import environment, side_by_side
from ipsam.utils.device import uses_bf16

ON_CPU = Defaults(sizes=(352, 512, 768), batches=(1, 2), repeats=3)
ON_CUDA = Defaults(sizes=(352, 512, 768, 1024, 1280, 1536), batches=(1, 2, 4, 8), repeats=10)
PROFILED = 1024  # pixels a side; the largest size where it is not among those asked for
NUM_FILES = {"cpu": (1, 2, 4), "cuda": (1, 8, 32)}
NOTES = """\
Random weights; medians of {repeats}; {precision}; the predictor's model. FLOPs as torch counts them, two for a
multiplication with its addition. GB: peak of a forward pass, weights included. Of a product: share of the
{rate:.3g} TFLOP/s that a large matrix product reaches here; where it is small, memory or the launching of operators
binds. Between parts the device is waited for, so that the whole takes longer here than in one go."""


def benchmark_scaling(**options: Any) -> Report:
    """Time, arithmetic and memory of inference by size, batch and number of files, by part, and by operator.

    Args:
        options: as of ``request_of``.

    Returns:
        Markdown tables, and the same as data.

    Raises:
        ValueError: as ``request_of`` does.
    """
    request = request_of(ON_CPU, ON_CUDA, **options)
    precision = "bf16" if uses_bf16("auto", request.device) else "fp32"
    rate = matrix_rate(request.device, precision=precision, repeats=request.repeats)
    profiled = PROFILED if PROFILED in request.sizes else max(request.sizes)
    data: dict[str, Any] = {"precision": precision, "matrix_flops_per_second": rate, "forward": []}
    for size in request.sizes:
        model = random_model(experiment(request.configs, variant=request.variant, image_size=size))
        predictor = predictor_of(model, device=request.device, precision=precision)
        merge_lora(model)
        flops = flops_of_parts(model.to("meta"), torch.empty(1, 3, size, size, device="meta"))
        data["forward"] += [_forward_row(predictor, request, batch, flops[WHOLE], rate) for batch in request.batches]
        if size == min(request.sizes):
            data["files"] = _file_rows(predictor, request)
        if size == profiled:
            data |= _profile(predictor, request, flops, rate)
    about = environment("ipsam", "torch", "sam2", device=request.device) | {"variant": request.variant}
    notes = [
        NOTES.format(repeats=request.repeats, precision=precision, rate=rate / 1e12),
        ", ".join(f"{name} {value}" for name, value in about.items()),
    ]
    return "\n\n".join([*_tables(data), "\n".join(notes)]), {"environment": about, **data}


def _forward_row(predictor: Predictor, request: Request, batch: int, flops: float, rate: float) -> dict[str, Any]:
    size, device = predictor.image_size, request.device
    run = forward_pass(predictor.model, network_inputs(batch, size, device), precision=precision_of(predictor))
    seconds = side_by_side({"forward": run}, repeats=request.repeats, device=device)["forward"]
    peak = peak_of(run, device) + held_by(predictor.model)
    return {
        "size": size,
        "batch": batch,
        "images_per_second": batch / seconds,
        "ms_per_image": 1000 * seconds / batch,
        "gflops_per_image": flops / 1e9,
        "of_product": flops * batch / seconds / rate,
        "peak_gb": peak / GB,
    }


def _file_rows(predictor: Predictor, request: Request) -> list[dict[str, Any]]:
    counts = NUM_FILES["cuda" if request.device.type == "cuda" else "cpu"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder, max(counts) * [PHOTOGRAPH])
        jobs = find_jobs(str(folder / "images"), folder / "maps", ["map"])
        (folder / "maps").mkdir()
        tasks = {
            str(count): lambda count=count: predict_files(predictor, jobs[:count], overwrite=True) for count in counts
        }
        seconds = side_by_side(tasks, repeats=min(3, request.repeats), device=request.device)
    size = predictor.image_size
    return [
        {"size": size, "files": int(count), "ms_per_file": 1000 * taken / int(count)}
        for count, taken in seconds.items()
    ]


def _profile(predictor: Predictor, request: Request, flops: dict[str, float], rate: float) -> dict[str, Any]:
    size, device, batch = predictor.image_size, request.device, min(request.batches)
    model: Any = predictor.model
    run = forward_pass(model, network_inputs(batch, size, device), precision=precision_of(predictor))
    seconds = seconds_of_parts(model, run, repeats=request.repeats, device=device)
    parts = [
        {
            "part": name,
            "ms": 1000 * taken,
            "share": taken / seconds[WHOLE],
            "gflops": batch * flops[name] / 1e9,
            "of_product": batch * flops[name] / taken / rate,
        }
        for name, taken in seconds.items()
    ]
    return {"profiled": {"size": size, "batch": batch}, "parts": parts, "operators": top_operators(run, device=device)}


def _tables(data: dict[str, Any]) -> list[str]:
    forward = [
        [
            *(str(row[name]) for name in ("size", "batch")),
            *(f"{row[name]:.3g}" for name in ("images_per_second", "ms_per_image", "gflops_per_image")),
            f"{row['of_product']:.0%}",
            f"{row['peak_gb']:.2f}",
        ]
        for row in data["forward"]
    ]
    files = [[str(row["size"]), str(row["files"]), f"{row['ms_per_file']:.3g}"] for row in data["files"]]
    parts = [
        [row["part"], f"{row['ms']:.1f}", f"{row['share']:.1%}", f"{row['gflops']:.1f}", f"{row['of_product']:.0%}"]
        for row in data["parts"]
    ]
    operators = [
        [row["operator"], str(row["calls"]), f"{row['ms']:.1f}", f"{row['share']:.1%}"] for row in data["operators"]
    ]
    where = "{size} px, batch {batch}".format(**data["profiled"])
    return [
        markdown(["input", "batch", "images/s", "ms an image", "GFLOPs an image", "of a product", "peak GB"], forward),
        markdown(["input, from files", "files", "ms a file"], files),
        markdown([f"part, at {where}", "ms", "share", "GFLOPs", "of a product"], parts),
        markdown([f"operator, at {where}", "calls", "ms", "share"], operators),
    ]
