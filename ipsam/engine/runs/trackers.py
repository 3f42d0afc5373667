"""Trackers of a run, which accelerate connects to: TensorBoard, wandb, trackio and mlflow."""

import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from ipsam.engine.runs.configuration import flat
from ipsam.utils.files import replacing
from ipsam.utils.options import Options
from ipsam.utils.rng import rng_state, set_rng_state
from ipsam.utils.untrusted import read_plain_json

TENSORBOARD = "tensorboard"
FOLDER, RUNS = "trackers", "runs.json"  # in a run's folder
PROJECT = "ipsam"
# TensorBoard's page "Custom Scalars": charts, and regular expressions of the scalars in them.
OVERVIEW = {
    "loss": "loss/total",
    "terms of each output's loss": "loss/.+/.+",
    "validation": "val/(sm|fw|em|mdice|miou|mae)",
    "test sets, Sm": "(test|watch)/.+/sm",
    "gradient norm": "optimiser/gradient_norm",
    "learning rate": "optimiser/lr",
    "skipped steps": "optimiser/skipped",
    "images a second": "speed/images_per_second",
    "share of the time waiting for data": "speed/waiting_for_data",
    "peak memory, GB": "speed/peak_memory_gb",
    "hours left": "speed/hours_left",
}

logger = logging.getLogger(__name__)


class TrackerRun(Options):
    """Run in a tracker: its id there, and the last step of each group of values."""

    model_config = ConfigDict(frozen=False)

    id: str | None = None
    logged: dict[str, int] = Field(default_factory=dict)


class Trackers:
    """Trackers of one run, from ``start`` to the end of the context; only the main process writes.

    A resumed run continues the same run of each tracker. TensorBoard drops the entries of steps that are trained again;
    the other trackers cannot, and keep the first entries. A failure, such as a full disk, ends that tracker with a
    warning, and never the work that it is about.

    Args:
        names: as in ``engine.trackers``.
        folder: run folder; receives ``tensorboard`` and ``trackers``.
        config: the run's configuration, for the trackers that show it.

    Raises:
        ImportError: the package of a tracker is missing.
    """

    def __init__(self, names: Sequence[str], folder: Path, config: Mapping[str, Any] | None = None) -> None:
        for name in names:
            if name not in map(str, get_available_trackers()):
                raise ImportError(f"engine.trackers=[{name}] needs the package {name}: pip install {name}")
        self.names, self.folder, self.config = names, folder, config or {}
        self._open: dict[str, GeneralTracker] = {}
        self._runs: dict[str, TrackerRun] = {}

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(self, *_: object) -> None:
        for name, tracker in [*self._open.items()]:
            with self._guarded(name):
                tracker.finish()
        self._open.clear()

    @property
    def label(self) -> str:
        """Name of the run in a tracker: its folder below ``paths.outputs``, or the last two folders elsewhere."""
        folder, outputs = self.folder.absolute(), self.config.get("paths", {}).get("outputs")
        if outputs is not None and Path(outputs).absolute() in folder.parents:
            return folder.relative_to(Path(outputs).absolute()).as_posix()
        return "/".join(folder.parts[-2:])

    @property
    def take_pictures(self) -> bool:
        """A tracker that takes pictures is open."""
        return any(hasattr(tracker, "log_images") for tracker in self._open.values())

    def start(self, step: int) -> None:
        """Open the trackers for the optimiser steps after ``step``; 0 begins a new run in each."""
        if not PartialState().is_main_process:
            return
        random = rng_state()
        self._runs = self._saved_runs() if step else {}
        for name in self.names:
            with self._guarded(name):
                self._open[name] = self._started(name, self._runs.setdefault(name, TrackerRun()), step)
        set_rng_state(random)

    def log(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Write ``group/name`` for each value."""
        named = {f"{group}/{name}": value for name, value in values.items()}
        self._write(group, step, lambda tracker: tracker.log(named, step=step))

    def picture(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """Write an RGB picture (height, width, 3) to the trackers that take pictures."""

        def write(tracker: Any) -> None:
            if hasattr(tracker, "log_images"):
                layout = {"dataformats": "NHWC"} if tracker.name == TENSORBOARD else {}
                tracker.log_images({name: picture[None]}, step=step, **layout)

        self._write(name, step, write)

    def _started(self, name: str, run: TrackerRun, step: int) -> GeneralTracker:
        label, files = self.label, self.folder / FOLDER
        config = {key: value if isinstance(value, int | float) else str(value) for key, value in flat(self.config)}
        is_new, own = run.id is None, run.id or uuid.uuid4().hex
        files.mkdir(parents=True, exist_ok=True)
        options: dict[str, dict[str, Any]] = {
            TENSORBOARD: {"logging_dir": self.folder, "purge_step": step + 1},
            "wandb": {"id": own, "name": label, "resume": "allow", "dir": str(files)},
            "trackio": {"name": f"{label} {own}", "resume": "allow", "config": config},
            "mlflow": {"run_id": run.id, "run_name": label},
        }
        tracker = LOGGER_TYPE_TO_CLASS[name](TENSORBOARD if name == TENSORBOARD else PROJECT, **options[name])
        tracker.start()
        run.id = tracker.tracker.info.run_id if name == "mlflow" else own
        if name == TENSORBOARD:
            run.logged = {group: min(last, step) for group, last in run.logged.items()}
            charts = {title: ["Multiline", [tags]] for title, tags in OVERVIEW.items()}
            tracker.tracker.add_custom_scalars({"overview": charts})
        elif is_new and name != "trackio":  # which takes it at the start only
            tracker.store_init_configuration(config)
        return tracker

    def _write(self, group: str, step: int, write: Callable[[GeneralTracker], object]) -> None:
        """Write to the trackers that have no entry of a group at this step yet, and record it."""
        for name, tracker in [*self._open.items()]:
            logged = self._runs[name].logged
            if step > logged.get(group, -1):
                with self._guarded(name):
                    write(tracker)
                logged[group] = step
        if self._open:
            with suppress(OSError), replacing(self.folder / FOLDER / RUNS) as file:  # a full disk
                file.write_text(json.dumps({name: run.model_dump() for name, run in self._runs.items()}))

    def _saved_runs(self) -> dict[str, TrackerRun]:
        """Read the run of each tracker; a missing or damaged file holds none."""
        with suppress(OSError, ValueError, TypeError, AttributeError):
            return {name: TrackerRun(**run) for name, run in read_plain_json(self.folder / FOLDER / RUNS).items()}
        return {}

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._open.pop(name, None)
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error!s:.200}"
            logger.warning("tracker %s ends here: %s; everything else goes on", name, reason)
