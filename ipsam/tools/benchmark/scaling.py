"""Cost of a forward pass by input size and batch size, and its division by part and operator."""

from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from ipsam.model import IPSAM
from ipsam.model.lora import merge_lora
from ipsam.tools.benchmark import Report
from ipsam.tools.benchmark.inputs import experiment, forward_pass, predictor_of, random_model
from ipsam.tools.benchmark.measure import GB, bytes_of, peak_memory, report, side_by_side, timer
from ipsam.tools.benchmark.options import BenchmarkOptions
from ipsam.utils.device import matrix_rate

DEFAULTS = {
    "cpu": {"sizes": (352, 512, 768), "batches": (1, 2), "repeats": 3},
    "cuda": {"sizes": (352, 512, 768, 1024, 1280, 1536), "batches": (1, 2, 4, 8), "repeats": 10},
}
PROFILED = 1024  # size that is profiled by part; else the largest
MATRIX = {"cpu": 2048, "cuda": 8192}  # side of the matrices whose product defines the device's rate
NUM_OPERATORS = 12
PARTS = {
    "trunk": "backbone.image_encoder.trunk",
    "neck": "backbone.image_encoder.neck.convs",
    "SPG": "self_prompt",
    "prompt encoder": "backbone.prompt_encoder.mask_downscaling",
    "PSG": "gating",
    "decoder": "decoder",
    "lateral": "lateral",
    "refinement": "refine",
}
REST, WHOLE = "rest", "whole"
NOTES = """\
Random weights; medians of {repeats}; {precision}; the predictor's model. FLOPs as torch counts them, two for a
multiplication with its addition. GB: peak of a forward pass, weights included. Of a product: share of the
{rate:.3g} TFLOP/s of a large matrix product here; where it is small, memory or the launching of operators limits the
speed. Between parts the device is waited for, so the whole takes longer than in one go."""


def benchmark(options: BenchmarkOptions) -> Report:
    """Measure time, FLOPs and memory of inference by size, batch size, part and operator."""
    device, precision = options.device, options.precision
    rate = matrix_rate(device, bf16=precision == "bf16", side=MATRIX[device.type])
    profiled = PROFILED if PROFILED in options.sizes else max(options.sizes)
    batch_profiled = min(options.batches)
    where = f"at {profiled} px, batch {batch_profiled}"
    forward: list[dict[str, Any]] = []
    for size in options.sizes:
        model = random_model(experiment(options.variant, size))
        predictor = predictor_of(model, device, precision=precision)
        merge_lora(model)
        flops = flops_of_parts(model.to("meta"), torch.empty(1, 3, size, size, device="meta"))
        for batch in options.batches:
            run = forward_pass(predictor.model, batch, size, device, precision)
            seconds = side_by_side({"forward": run}, repeats=options.repeats)["forward"]
            row = {"input": size, "batch": batch, "images/s": batch / seconds, "ms an image": 1000 * seconds / batch}
            row |= {"GFLOPs an image": flops[WHOLE] / 1e9, "of a product": flops[WHOLE] * batch / seconds / rate}
            forward.append(row | {"peak GB": (peak_memory(run, device) + bytes_of(predictor.model)) / GB})
        if size == profiled:
            run = forward_pass(predictor.model, batch_profiled, size, device, precision)
            times = seconds_of_parts(predictor.model, run, repeats=options.repeats)
            gflops = {name: batch_profiled * count / 1e9 for name, count in flops.items()}
            parts = [
                {f"part, {where}": name, "ms": 1000 * taken, "share": taken / times[WHOLE], "GFLOPs": gflops[name]}
                | {"of a product": 1e9 * gflops[name] / taken / rate}
                for name, taken in times.items()
            ]
            operators = [{f"operator, {where}": name} | row for name, row in top_operators(run, device).items()]
    notes = NOTES.format(repeats=options.repeats, precision=precision, rate=rate / 1e12)
    return report([forward, parts, operators], notes, "ipsam", "torch", "sam2", options=options)


@torch.no_grad()
def flops_of_parts(model: IPSAM, image: Tensor) -> dict[str, float]:
    """Count floating-point operations by part, two for a multiplication with its addition.

    Args:
        model: on the device ``meta``, where nothing is computed.
        image: on ``meta`` too.
    """
    model.requires_grad_(False)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it does not know CPU attention
        model(image)
    by_module = {name: float(sum(counts.values())) for name, counts in counter.get_flop_counts().items()}
    found = {
        name: sum(by_module.get(f"IPSAM.{each}", 0.0) for each in _module_names(model, path))
        for name, path in PARTS.items()
        if _module_names(model, path)
    }
    whole = float(counter.get_total_flops())
    return found | {REST: whole - sum(found.values()), WHOLE: whole}


def seconds_of_parts(model: nn.Module, run: Callable[[], object], *, repeats: int) -> dict[str, float]:
    """Measure the median seconds in each part, the rest and the whole; waits for the device between parts."""
    modules = {model.get_submodule(each): name for name, path in PARTS.items() for each in _module_names(model, path)}
    times: dict[str, float] = {}

    def add(name: str, sign: int) -> None:
        times[name] += sign * timer()

    handles = []
    for module, name in modules.items():
        handles.append(module.register_forward_pre_hook(lambda *_, name=name: add(name, -1)))
        handles.append(module.register_forward_hook(lambda *_, name=name: add(name, 1)))
    passes = []
    for _ in range(1 + repeats):
        times = dict.fromkeys([*modules.values(), WHOLE], 0.0)
        add(WHOLE, -1)
        run()
        add(WHOLE, 1)
        whole = times.pop(WHOLE)
        passes.append(times | {REST: whole - sum(times.values()), WHOLE: whole})
    for handle in handles:
        handle.remove()
    return {name: median(each[name] for each in passes[1:]) for name in passes[0]}


def _module_names(model: nn.Module, path: str) -> list[str]:
    """Return the modules of a part: itself, or the items of a list, which has no forward pass; none if left out."""
    module = dict(model.named_modules()).get(path)
    if isinstance(module, nn.ModuleList):
        return [f"{path}.{index}" for index in range(len(module))]
    return [] if module is None else [path]


def top_operators(run: Callable[[], object], device: torch.device) -> dict[str, dict[str, Any]]:
    """Profile a call: number of calls, milliseconds and share of the operators that take most of its time."""
    run()
    with profile() as profiled:
        run()
        timer()
    time = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    found = [each for each in profiled.key_averages() if each.key.startswith("aten::")]
    total = sum(getattr(each, time) for each in found)
    return {
        each.key.removeprefix("aten::"): {
            "calls": each.count,
            "ms": getattr(each, time) / 1000,
            "share": getattr(each, time) / total,
        }
        for each in sorted(found, key=lambda each: -getattr(each, time))[:NUM_OPERATORS]
    }
