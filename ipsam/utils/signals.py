"""Being asked to stop: SIGTERM, as clusters send it before they take a machine away, and Ctrl-C."""

import signal
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)
GRACE = 5  # seconds in which SIGTERM is but an echo: clusters tell every process, and torchrun passes its own on


class StoppedError(Exception):
    """The run was asked to stop, has saved everything and can go on later."""

    status = 128 + signal.SIGTERM


class Stop:
    """Notes the signals instead of dying of them, while it is entered.

    A second Ctrl-C ends the process as ever, and so does a second SIGTERM after ``GRACE``.

    Outside the main thread, where Python takes no signals, it notes nothing.
    """

    def __init__(self) -> None:
        self.requested = False
        self._since = 0.0
        self._former: dict[int, Any] = {}
        self._group: Any = None

    def __enter__(self) -> "Stop":
        try:
            self._former = {number: signal.signal(number, self._note) for number in SIGNALS}
        except ValueError:  # not the main thread
            self._former = {}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self._since = True, now
        elif number == signal.SIGINT or now - self._since > GRACE:
            signal.signal(number, self._former[number])
            signal.raise_signal(number)

    def agreed(self, num_processes: int) -> bool:
        """Return whether any of the run's processes was asked to stop; all of them must call this together."""
        if num_processes == 1:
            return self.requested
        import torch.distributed  # here, so that programs without torch can use the rest of this module

        if self._group is None:  # between the processes' hosts, as to ask a device would wait for all that it has to do
            self._group = torch.distributed.new_group(backend="gloo")
        told = torch.tensor(int(self.requested))
        torch.distributed.all_reduce(told, group=self._group)
        return bool(told.item())


def ignore_signals(_: int) -> None:
    """For the workers of a DataLoader: a signal to the whole group of processes is the main process's to handle."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
