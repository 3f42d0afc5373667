"""Ports and stop signals of servers."""

import signal
import socket
import threading


def free_port(host: str, port: int) -> int:
    """Return the port, or any free one for 0; ValueError if nothing can be served there."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except (OSError, OverflowError, TypeError) as error:
        reason = "it is no number" if isinstance(error, TypeError) else getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"host={host} port={port}: the page can't be served there ({reason}); choose another port, "
            "or port=0 for any free one, and an address of this machine as host"
        ) from error


def stop_requested() -> threading.Event:
    """Return an event that the first stop signal sets; further signals don't interrupt the clean-up."""
    requested = threading.Event()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(number, lambda *_: requested.set())
    return requested
