"""Stop on request: the signals of clusters before they take a machine away, Ctrl-C, and a closed terminal."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType
from typing import Any

# A closed terminal, and what Slurm sends with --signal or by submitit. Windows has none of them.
OTHERS = {getattr(signal, name) for name in ("SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)}
SIGNALS = (signal.SIGTERM, signal.SIGINT, *OTHERS)
TIMEOUT = 1800  # seconds, torch's own default
GRACE = 5  # seconds in which a second signal is a duplicate: clusters signal all processes, torchrun forwards its own


class StoppedError(Exception):
    """The run stopped on request, after it saved everything, and can be resumed."""

    status = 128 + signal.SIGTERM


class Stop:
    """Context in which ``SIGNALS`` set ``requested`` instead of ending the process.

    A second Ctrl-C ends the process, and so does a second other signal after ``GRACE``. Signals that the process
    ignores, as SIGHUP under ``nohup``, stay ignored. Outside the main thread, where Python handles no signals, the
    context has no effect.

    Args:
        timeout: seconds to wait for other processes.
    """

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self.requested, self.timeout = False, timeout
        self._since = 0.0
        self._previous: dict[int, Any] = {}
        self._group: Any = None

    def __enter__(self) -> "Stop":
        _handle(SIGNALS, self._note, self._previous)
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._previous)

    def _note(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if not self.requested:
            self.requested, self._since = True, now
        elif number == signal.SIGINT or now - self._since > GRACE:
            signal.signal(number, self._previous[number])
            signal.raise_signal(number)

    def agreed(self, num_processes: int) -> bool:
        """Return whether any of the run's processes was asked to stop; all of them must call this together."""
        if num_processes == 1:
            return self.requested
        import torch.distributed  # here, so that programs without torch can use the rest of this module

        if self._group is None:  # between hosts; a device would first finish all its work
            self._group = torch.distributed.new_group(backend="gloo", timeout=timedelta(seconds=self.timeout))
        requests = torch.tensor(int(self.requested))
        torch.distributed.all_reduce(requests, group=self._group)
        return bool(requests.item())


def _handle(numbers: Iterable[int], handler: Callable[[int, FrameType | None], None], previous: dict[int, Any]) -> None:
    """Handle those signals that are not ignored, and keep their handlers in ``previous``."""
    with suppress(ValueError):  # not the main thread
        for number in numbers:
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, handler)


def _restore(previous: dict[int, Any]) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)


class _EndedError(BaseException):
    """Unwinds the stack after a signal."""


@contextmanager
def cleaned_up() -> Iterator[None]:
    """Let all ``SIGNALS`` but Ctrl-C end the process only once the contexts inside have cleaned up, as that does.

    torchrun sends SIGTERM as soon as another process has failed.
    """
    received: list[int] = []

    def end(number: int, _: FrameType | None) -> None:
        if not received:  # a duplicate must not interrupt the cleaning up
            received.append(number)
            raise _EndedError

    previous: dict[int, Any] = {}
    _handle((signal.SIGTERM, *OTHERS), end, previous)
    try:
        yield
    finally:
        _restore(previous)
        if received:
            signal.raise_signal(received[0])


def ignore_signals(_: int = 0) -> None:
    """Ignore signals in a worker process; the main process handles those sent to the process group."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
