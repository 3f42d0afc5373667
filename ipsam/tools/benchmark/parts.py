"""Where a forward pass spends its time and its arithmetic."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from ipsam.model import IPSAM
from ipsam.tools.benchmark.timing import side_by_side, wait_for

REST = "rest"
WHOLE = "whole"
MATRIX = {"cpu": 2048, "cuda": 8192}  # side of the matrices whose product tells what a device reaches


def parts_of(model: IPSAM) -> dict[str, list[nn.Module]]:
    """The modules of each part of the model, in the order of their work."""
    encoder = model.backbone.image_encoder
    parts: dict[str, list[nn.Module | None]] = {
        "trunk": [encoder.trunk],
        "neck": list(encoder.neck.convs),
        "SPG": [model.self_prompt],
        "prompt encoder": [model.backbone.prompt_encoder],
        "PSG": [model.gating],
        "decoder": [model.decoder],
        "lateral": [model.lateral],
        "refinement": [model.refine],
    }
    there = {name: [module for module in modules if module is not None] for name, modules in parts.items()}
    return {name: modules for name, modules in there.items() if modules}


def spent(
    parts: Mapping[str, Sequence[nn.Module]], run: Callable[[], object], read: Callable[[], float]
) -> dict[str, float]:
    """What a call of ``run`` adds to a counter in each part, in the ``rest``, and in the ``whole``.

    Args:
        parts: modules by name, none within another.
        run: calls them.
        read: the counter.
    """
    totals = dict.fromkeys(parts, 0.0)
    begun = dict.fromkeys(parts, 0.0)

    def enter(name: str) -> None:
        begun[name] = read()

    def leave(name: str) -> None:
        totals[name] += read() - begun[name]

    handles = []
    for name, modules in parts.items():
        for module in modules:
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: enter(name)))
            handles.append(module.register_forward_hook(lambda *_, name=name: leave(name)))
    try:
        began = read()
        run()
        whole = read() - began
    finally:
        for handle in handles:
            handle.remove()
    return totals | {REST: whole - sum(totals.values()), WHOLE: whole}


def seconds_of_parts(
    model: IPSAM, run: Callable[[], object], *, repeats: int, device: torch.device
) -> dict[str, float]:
    """Median seconds in each part; the device is waited for wherever one begins or ends."""

    def now() -> float:
        wait_for(device)
        return time.perf_counter()

    run()
    times = [spent(parts_of(model), run, now) for _ in range(repeats)]
    return {name: median(each[name] for each in times) for name in times[0]}


@torch.no_grad()
def flops_of_parts(model: IPSAM, image: Tensor) -> dict[str, float]:
    """Floating-point operations in each part, two for each multiplication with its addition, as torch counts them.

    Args:
        model: on the device ``meta``, where nothing is computed.
        image: there too.
    """
    model.requires_grad_(False)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # of attention it knows no CPU kernel
        return spent(parts_of(model), lambda: model(image), lambda: float(counter.get_total_flops()))


def top_operators(run: Callable[[], object], *, device: torch.device, count: int = 12) -> list[dict[str, Any]]:
    """The operators that take most of the time of a call: name, calls, milliseconds, share of all operators' time."""
    on_cuda = device.type == "cuda"
    run()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]) as profiled:
        run()
        wait_for(device)
    averages = [each for each in profiled.key_averages() if each.key.startswith("aten::")]
    taken = [(each.self_device_time_total if on_cuda else each.self_cpu_time_total) / 1000 for each in averages]
    order = sorted(range(len(averages)), key=lambda index: -taken[index])[:count]
    return [
        {
            "operator": averages[index].key.removeprefix("aten::"),
            "calls": averages[index].count,
            "ms": taken[index],
            "share": taken[index] / sum(taken),
        }
        for index in order
    ]


def matrix_rate(device: torch.device, *, precision: str, repeats: int, side: int | None = None) -> float:
    """Floating-point operations a second of a large matrix product: about the most that a device reaches."""
    n = side or MATRIX["cuda" if device.type == "cuda" else "cpu"]
    matrix = torch.randn(n, n, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    seconds = side_by_side({"product": lambda: matrix @ matrix}, repeats=repeats, device=device)["product"]
    return 2 * n**3 / seconds
