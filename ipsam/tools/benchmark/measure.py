"""Timing side by side, peak memory, the description of the environment, and the report of tables."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import cv2
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark.utils.timer import timer as timer  # waits for the GPU first

from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.provenance import package_versions
from ipsam.tools.benchmark import Report
from ipsam.tools.benchmark.options import BenchmarkOptions

GB = 1 << 30


def side_by_side(tasks: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, float]:
    """Return the median seconds of each task.

    Every task is called once before. Then all take turns, so that disturbances of the machine affect them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(repeats):
        for name, task in tasks.items():
            began = timer()
            task()
            seconds[name].append(timer() - began)
    return {name: median(taken) for name, taken in seconds.items()}


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch and OpenCV in one thread."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def peak_memory(task: Callable[[], object], device: torch.device) -> int:
    """Return the peak memory of a call in bytes, beyond what was allocated before.

    On a GPU the allocator counts it. On a CPU torch's profiler records allocations, which slows the call down.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        task()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        task()
    recorded: Any = profiled.profiler
    events = [event for event in recorded.kineto_results.events() if event.name() == "[memory]"]
    highest = total = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        total += event.nbytes()
        highest = max(highest, total)
    return highest


def bytes_of(model: nn.Module) -> int:
    """Return the bytes of a model's parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))


def report(
    tables: Sequence[Sequence[Mapping[str, Any]]],
    notes: str,
    *packages: str,
    options: BenchmarkOptions | None = None,
    **figures: Any,
) -> Report:
    """Write tables, notes and a line about the environment as Markdown, and return the same as data.

    Args:
        tables: rows of each table, which map column titles to figures; a row may lack some.
        notes: text below the tables.
        packages: packages whose versions are given.
        options: options of a model's benchmark, which add device, threads and variant.
        figures: further data.
    """
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} logical CPUs"
    about = {"machine": machine, "python": platform.python_version()}
    if options is not None:
        about["device"] = f"{options.device.type} ({torch.backends.cpu.get_cpu_capability()})"
        if options.device.type == "cuda":
            about |= {"device": torch.cuda.get_device_name(options.device), "CUDA": str(torch.version.cuda)}
        about |= {"threads": str(torch.get_num_threads()), "variant": options.variant}
    about |= package_versions(packages)
    line = ", ".join(f"{name} {value}" for name, value in about.items())
    text = "\n\n".join([*map(_table, tables), f"{notes}\n{line}"])
    return text, {"environment": about, "tables": [list(rows) for rows in tables], **figures}


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    header = list(dict.fromkeys(title for row in rows for title in row))
    return markdown(header, [[_cell(row.get(title, "")) for title in header] for row in rows])


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
