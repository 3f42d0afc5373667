"""Errors as every command prints them."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from ipsam.utils.signals import StoppedError

FULL_ERROR = "HYDRA_FULL_ERROR"
# What gloo and NCCL say when they no longer reach another process.
LOST = r"connection (closed|reset|refused)|timed out|unhandled system error|remote process exited|socket"
# Arguments of ipsam.data in its messages, and the keys that set them.
DATA_KEYS = {
    r"(?<![\w./])((exclude|train|val|test)=\[|(size_mismatch|cache|val_fraction)=)": r"data.\1",
    r"(?<![\w./])root=FOLDER": "paths.data=FOLDER",
}


def with_data_keys(message: str) -> str:
    """Replace the arguments of `ipsam.data` that a message names by the keys of the configuration."""
    for argument, key in DATA_KEYS.items():
        message = re.sub(argument, key, message)
    return message


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what the user can mend into one message and exit status 1; HYDRA_FULL_ERROR=1 shows the traceback too."""
    try:
        yield
        if _is_distributed():
            sys.modules["torch"].distributed.destroy_process_group()
    except StoppedError as stopped:
        sys.stderr.write(f"{stopped}\n")
        sys.exit(stopped.status)
    except RuntimeError as error:
        if killed := re.search(r"DataLoader worker \(pid.*\) (is killed|exited).*", str(error)):
            sys.exit(
                f"error: a process that reads data has ended ({killed[0]:.200}). If memory ran out, lower "
                "engine.num_workers or make room; then continue with resume=true"
            )
        if not (_is_distributed() and re.search(LOST, str(error), re.I)):
            raise
        sys.exit(f"error: another process of this run is gone, see its message; continue with resume=true\n({error})")
    except ImportError as error:
        if "pip install" not in str(error):
            raise
        sys.exit(f"error: {error}")
    except (ValueError, OSError, OmegaConfBaseException, HydraException) as error:
        if os.environ.get(FULL_ERROR) == "1":
            raise
        message = str(error)
        if isinstance(error, OSError) and error.filename is not None:  # as the system raised it, without a way out
            message = f"{error.filename}: {error.strerror}; check the path, and your right to read or write there"
        if isinstance(error, OmegaConfBaseException):
            message = message.partition("\n")[0]  # what follows is omegaconf's own bookkeeping
        if message.startswith("Caught "):
            # From a DataLoader's worker, which passes its traceback on as text; the reason stands at the end.
            message = message.rpartition("Error: ")[2]
        sys.exit(f"error: {with_data_keys(message.strip())}\n(HYDRA_FULL_ERROR=1 shows where)")


def _is_distributed() -> bool:
    """Return whether this process is one of several; without importing torch, which some commands never need."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()
