"""How everything is timed, and on what."""

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from statistics import median


def side_by_side(tasks: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, float]:
    """Median seconds of each task.

    After a first call that does not count, all tasks take turns, so that what disturbs the machine disturbs them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for task in tasks.values():
        task()
    for _ in range(repeats):
        for name, task in tasks.items():
            began = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - began)
    return {name: median(taken) for name, taken in seconds.items()}


def check_repeats(repeats: int) -> None:
    """ValueError for a number of repeats that gives no figures."""
    if repeats < 1:
        raise ValueError(f"--repeats must be at least 1, not {repeats}")


def environment(*packages: str) -> dict[str, str]:
    """Machine, Python and the versions of packages."""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} logical CPUs"
    return {"machine": machine, "python": platform.python_version()} | {name: version(name) for name in packages}
