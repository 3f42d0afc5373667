"""Runs of a sweep as jobs of a cluster, by submitit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import Any

from omegaconf import OmegaConf

from ipsam.cli.errors import FULL_ERROR
from ipsam.cli.sweeps.launcher import Started, SweepLauncher, check_count
from ipsam.cli.sweeps.runs import AGAIN, Run
from ipsam.utils.signals import StoppedError

KILLED = -9  # status of a job that ended without a result: SIGKILL, which Windows has not
RESTARTS = "SLURM_RESTART_COUNT"  # of a job that Slurm itself has queued again
PATIENCE = 60  # seconds until the cluster ends the job's other processes


class Job:
    """A run as submitit calls it. A signal has it save, and then wait in the queue again.

    Args:
        arguments: of the command ``ipsam``.
        again: those that resume it.
        full_error: the user's HYDRA_FULL_ERROR.
        seconds: that it has run so far.
    """

    def __init__(self, arguments: Sequence[str], again: Sequence[str], full_error: str, seconds: float = 0.0) -> None:
        self.arguments, self.again, self.full_error, self.seconds = list(arguments), list(again), full_error, seconds
        self.begun, self.is_requeued = 0.0, False

    def __call__(self) -> tuple[int, float]:
        """Run it; return its status and seconds."""
        from submitit import JobEnvironment
        from submitit.helpers import TorchDistributedEnvironment

        self.begun, environment = time.monotonic(), JobEnvironment()
        if environment.num_tasks > 1:  # the processes of one run
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)

        def requeue(_: int, __: FrameType | None) -> None:
            if environment.name() == "slurm" and not _goes_on(environment.job_id):
                sys.exit(StoppedError.status)
            signal.raise_signal(environment._usr_sig())  # handled by submitit

        signal.signal(signal.SIGTERM, requeue)
        os.environ[FULL_ERROR] = self.full_error
        sys.argv = ["ipsam", *self.arguments, *(self.again if int(os.environ.get(RESTARTS, "0")) else ())]
        status: object = 0
        try:
            import_module("ipsam.__main__").main()
        except SystemExit as end:
            if self.is_requeued:
                raise
            status = end.code or 0
        if status == StoppedError.status:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(PATIENCE)  # only the first process of several can requeue
        if not isinstance(status, int):  # a message, as Python itself takes it
            sys.stderr.write(f"{status}\n")
            status = 1
        return status, self.seconds + time.monotonic() - self.begun

    def checkpoint(self) -> Any:
        """Return the job to queue in the place of this one."""
        from submitit.helpers import DelayedSubmission

        self.is_requeued = True
        arguments = [*self.arguments, *(text for text in self.again if text not in self.arguments)]
        seconds = self.seconds + time.monotonic() - self.begun
        return DelayedSubmission(Job(arguments, self.again, self.full_error, seconds))


def _goes_on(job_id: str) -> bool:
    """Return whether Slurm takes a job for running, as before preemption and not after scancel."""
    shown = subprocess.run(["scontrol", "show", "job", job_id], capture_output=True, text=True, check=False)  # noqa: S603, S607
    return "JobState=RUNNING" in shown.stdout


class ClusterLauncher(SweepLauncher):
    """Launcher of an array of jobs, one task a run.

    Args:
        cluster: ``slurm``; or ``local`` for processes of this machine, all at the same time.
        retries: how often a run is submitted again that ended without a result.
        max_timeouts: how often a run whose time is up waits in the queue again.
        parameters: of submitit's ``AutoExecutor.update_parameters``.
    """

    ends_runs = False

    def __init__(self, *, cluster: str, retries: Any, max_timeouts: Any, **parameters: Any) -> None:
        super().__init__(retries=retries)
        self.cluster, self.max_timeouts = cluster, max_timeouts
        self.parameters: Any = OmegaConf.to_container(OmegaConf.create(parameters))

    def setup(self, **given: Any) -> None:
        """Check the arguments."""
        super().setup(**given)
        check_count("hydra.launcher.max_timeouts", self.max_timeouts, 0)

    def room(self) -> int:
        """Return a number that is never reached: the cluster decides."""
        return sys.maxsize

    def start(self, runs: Sequence[Run]) -> Sequence[Started]:
        """Submit runs, several as one array."""
        try:
            import submitit
        except ImportError as error:
            raise ImportError("hydra/launcher=slurm needs submitit: pip install -e '.[slurm]'") from error
        folder = self.sweep.folder.absolute() / "jobs"
        try:
            executor = submitit.AutoExecutor(
                folder=folder, cluster=self.cluster, slurm_max_num_timeout=self.max_timeouts
            )
            executor.update_parameters(**self.parameters)
            jobs = []
            with executor.batch():
                for run in runs:
                    again = AGAIN if run.folder else ()
                    jobs.append(executor.submit(Job(run.command, again, self.sweep.full_error)))
        except (RuntimeError, ValueError, NameError, AssertionError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"hydra/launcher=slurm: {reason} Start the sweep where sbatch works, with keys that "
                "configs/hydra/launcher/slurm.yaml has; hydra.launcher.cluster=local needs no cluster"
            ) from error
        for run in runs:
            run.starts += 1
        return [_Submitted(run, job) for run, job in zip(runs, jobs, strict=True)]


class _Submitted(Started):
    """A job in the queue, running or ended."""

    def __init__(self, run: Run, job: Any) -> None:
        self.run, self.job = run, job

    def poll(self) -> int | None:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        if not self.job.done():
            return None
        try:
            status, seconds = self.job.results()[0]
        except FailedJobError as error:  # a fault of the program
            sys.stderr.write(f"{error}\n")
            return 1
        except UncompletedJobError:  # their base
            return StoppedError.status if self.job.state.startswith("CANCELLED") else KILLED
        self.run.seconds += seconds
        return int(status)
