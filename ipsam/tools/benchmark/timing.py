"""How everything is timed, and on what."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from statistics import median

import torch

CPU = torch.device("cpu")


def side_by_side(
    tasks: Mapping[str, Callable[[], object]], *, repeats: int, device: torch.device = CPU
) -> dict[str, float]:
    """Median seconds of each task; what it leaves to a device is waited for.

    After a first call that does not count, all tasks take turns, so that what disturbs the machine disturbs them alike.

    Raises:
        ValueError: ``repeats`` is below 1.
    """
    check_repeats(repeats)
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(repeats):
        for name, task in tasks.items():
            wait_for(device)
            began = time.perf_counter()
            task()
            wait_for(device)
            seconds[name].append(time.perf_counter() - began)
    return {name: median(taken) for name, taken in seconds.items()}


def check_repeats(repeats: int) -> None:
    """ValueError unless there is something to take the median of."""
    if repeats < 1:
        raise ValueError(f"--repeats must be at least 1, not {repeats}")


def wait_for(device: torch.device) -> None:
    """Until everything that a device was given to do is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def environment(*packages: str, device: torch.device | None = None) -> dict[str, str]:
    """Machine, Python and the versions of packages; of a device its name and, of a GPU, CUDA's version."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} logical CPUs"
    about = {"machine": machine, "python": platform.python_version()}
    if device is not None:
        about["device"] = f"{device.type} ({torch.backends.cpu.get_cpu_capability()})"
        if device.type == "cuda":
            about |= {"device": torch.cuda.get_device_name(device), "CUDA": str(torch.version.cuda)}
        about["threads"] = str(torch.get_num_threads())
    return about | {name: version(name) for name in packages}
