"""The lock of a run's folder: one training at a time, from its first check to its last score."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import Timeout
from omegaconf import DictConfig

from ipsam.engine.runs.run_folder import LOG, check_run
from ipsam.utils.folders import check_stays_inside
from ipsam.utils.lock import SOFT, hold, holder

LOCK = ".lock"


@contextmanager
def begin_run(config: DictConfig) -> Iterator[None]:
    """Lock the run's folder, check the run (``check_run``), and log to ``train.log`` in the folder as well.

    Of several processes the main one locks and checks. Its error is raised in all of them.

    Raises:
        ValueError, OSError: as ``lock_folder`` and ``check_run`` raise them.
    """
    folder, refusal = Path(config.run_dir), list[Exception | None]([None])
    with ExitStack() as stack:
        if PartialState(cpu=config.engine.cpu).is_main_process:
            try:
                stack.enter_context(lock_folder(folder))
                check_run(config)
            except (ValueError, OSError) as error:
                refusal = [error]
        for refused in broadcast_object_list(refusal):
            if refused is not None:
                raise refused
        folder.mkdir(parents=True, exist_ok=True)  # on another node, whose disk may be another
        handler = stack.enter_context(closing(logging.FileHandler(folder / LOG, encoding="utf-8")))
        handler.setFormatter(logging.Formatter("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"))
        logging.getLogger().addHandler(handler)
        stack.callback(logging.getLogger().removeHandler, handler)
        yield


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a run's folder and hold its lock.

    Raises:
        ValueError: another process holds it; or the lock file is a link that leads out of the folder.
        OSError: the lock file can't be written.
    """
    check_stays_inside(folder, (LOCK, LOCK + SOFT))
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(folder / LOCK, wait=False))
        except Timeout as busy:
            raise ValueError(
                f"{folder} is in use by {holder(Path(busy.lock_file))}: wait for its end, stop it, "
                "or name another folder with run_dir=..."
            ) from busy
        yield
