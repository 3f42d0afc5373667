"""Start a sweep's runs and wait for them; a run that fails ends itself alone."""

import os
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, ListConfig

from ipsam.cli.errors import FULL_ERROR
from ipsam.cli.sweeps.runs import Run, Sweep
from ipsam.utils.console import show
from ipsam.utils.signals import Stop, StoppedError

COMMAND = (sys.executable, "-m", "ipsam")
PAUSE = 0.2  # seconds between looks at the runs


class Started(ABC):
    """A run that was started."""

    @abstractmethod
    def poll(self) -> int | None:
        """Return the status it ended with, negative if something killed it; None while it is running."""

    def stop(self) -> None:  # noqa: B027 (jobs of a cluster go on)
        """Ask it to save and end, if it ends with the sweep."""


class SweepLauncher(Launcher):
    """Base of the launchers: each run is a command of its own, and is started again if something kills it.

    Args:
        retries: how often a killed run is started again.
    """

    sweep: ClassVar[Sweep]
    ends_runs = True  # when the sweep is stopped

    def __init__(self, *, retries: Any) -> None:
        self.retries = retries

    def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig) -> None:  # noqa: ARG002
        """Note the sweep's configuration.

        Raises:
            ValueError: an argument is impossible. Hydra would wrap an error of the constructor.
        """
        check_count("hydra.launcher.retries", self.retries, 0)
        self.config, self.loader = config, hydra_context.config_loader
        self.sweep.folder = Path(config.hydra.sweep.dir)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:  # noqa: ARG002
        """Run them all.

        Returns:
            What Hydra calls the return of each run: the ``Run`` itself.

        Raises:
            StoppedError: the sweep was asked to stop.
        """
        runs = self.sweep.new_runs(self.config, self.loader, job_overrides)
        self.sweep.folder.mkdir(parents=True, exist_ok=True)  # Hydra makes it for its own sweeper only
        with Stop() as stop:
            self._run(runs, stop)
        if stop.requested and any(run.status != 0 for run in runs):
            ended = sum(run.status == 0 for run in self.sweep.runs)
            raise StoppedError(
                f"the sweep is stopped on request; {ended} of {len(self.sweep.runs)} runs are finished. "
                + ("Continue" if self.ends_runs else "The others go on, until scancel ends them; or continue")
                + " with the same command and resume=true"
            )
        return [JobReturn(overrides=run.arguments, status=JobStatus.COMPLETED, _return_value=run) for run in runs]

    @abstractmethod
    def room(self) -> int:
        """Return how many runs can go on at the same time."""

    @abstractmethod
    def start(self, runs: Sequence[Run]) -> Sequence[Started]:
        """Start runs; there is room for them."""

    def _run(self, waiting: Sequence[Run], stop: Stop) -> None:
        running: list[tuple[Run, Started]] = []
        is_stopping = False
        while running or (waiting and not stop.requested):
            room = 0 if stop.requested else self.room() - len(running)
            if waiting and room > 0:
                now, waiting = waiting[:room], waiting[room:]
                try:
                    running += zip(now, self.start(now), strict=True)
                except (OSError, ValueError):  # such as a full disk
                    for _, one in running:
                        one.stop()
                    raise
            if stop.requested and not is_stopping:
                is_stopping = True
                for _, one in running:
                    one.stop()
            if stop.requested and not self.ends_runs:
                return
            for run, one in list(running):
                status = one.poll()
                if status is None:
                    continue
                running.remove((run, one))
                if status < 0 and run.starts <= self.retries and not stop.requested:
                    show(f"run {run.number} was killed: it is started again")
                    waiting = [run, *waiting]
                else:
                    run.status = status
                    show(f"run {run.number}: {run.result}, {run.seconds:.0f} s")
            time.sleep(PAUSE)


class LocalLauncher(SweepLauncher):
    """Launcher of processes on this machine, one at a time on each GPU.

    Args:
        devices: values of CUDA_VISIBLE_DEVICES; None: the visible ones, or else one run at a time.
        retries: how often a killed run is started again.
    """

    def __init__(self, *, devices: Any, retries: Any) -> None:
        super().__init__(retries=retries)
        self.devices = devices

    def setup(self, **given: Any) -> None:
        """Find the devices."""
        super().setup(**given)
        if not isinstance(self.devices, list | ListConfig | None):
            raise ValueError(f"hydra.launcher.devices must be null or a list such as [0,1], not {self.devices!r}")
        names = _visible_devices() if self.devices is None else [str(name) for name in self.devices]
        self.free: list[str | None] = [*names] or [None]
        self.num_devices = len(self.free)

    def room(self) -> int:
        """Return the number of devices."""
        return self.num_devices

    def start(self, runs: Sequence[Run]) -> Sequence[Started]:
        """Start each run on a device that is free."""
        return [_Process(run, self) for run in runs]


class _Process(Started):
    """A run's process, which has a device. Its output goes to a file if others run beside it."""

    def __init__(self, run: Run, launcher: LocalLauncher) -> None:
        self.run, self.launcher, self.device = run, launcher, launcher.free.pop(0)
        environment = {**os.environ, FULL_ERROR: launcher.sweep.full_error}
        if self.device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.device
        log = launcher.sweep.folder / f"run{run.number}.log" if launcher.room() > 1 else None
        show(f"run {run.number}: ipsam {' '.join(run.command)}" + (f" (device {self.device}; {log})" if log else ""))
        self.begun = time.monotonic()
        with ExitStack() as stack:
            output = stack.enter_context(log.open("ab")) if log else None
            streams: Any = {"stdout": output, "stderr": output}
            self.process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 (the user's own command)
                [*COMMAND, *run.command], env=environment, **streams
            )
        run.starts += 1

    def poll(self) -> int | None:
        status = self.process.poll()
        if status is not None:
            self.run.seconds += time.monotonic() - self.begun
            self.launcher.free.append(self.device)
        return status

    def stop(self) -> None:
        self.process.terminate()


def check_count(key: str, value: object, least: int) -> None:
    """Raise ValueError if a value is not a whole number from ``least``."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{key} must be a whole number, {least} or above, not {value!r}")


def _visible_devices() -> list[str]:
    """List the visible GPUs as CUDA_VISIBLE_DEVICES names them."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = given.split(",") if given is not None else [str(index) for index in range(torch.cuda.device_count())]
    return names[: torch.cuda.device_count()]
