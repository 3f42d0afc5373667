"""Errors as every command prints them."""

import errno
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, ValueNode
from omegaconf.errors import OmegaConfBaseException

from ipsam.utils.console import printable
from ipsam.utils.folders import without_unused_folders
from ipsam.utils.signals import StoppedError

FULL_ERROR = "HYDRA_FULL_ERROR"
# What gloo and NCCL say when they no longer reach another process.
LOST = r"connection (closed|reset|refused)|broken pipe|timed out|timeout|unhandled system error|remote process|socket"
APART = ("DistNetworkError", "DistStoreError")  # torch's, before the processes have found each other
# An argument that a message of ipsam.data or ipsam.model gives a value, and the value so far as it can hold spaces.
ARGUMENT = re.compile(
    r"(?<![\w./=\-'\"])([a-z]\w*(?:\.\w+)?)="
    r"""(\[(?:"(?:\\.|[^"\\])*"|[^\]"])*\]|\{[^}]*\}|None\b|True\b|False\b)?"""
)
PYTHON = {"None": "null", "True": "true", "False": "false"}
OF_TORCH = ("torch", "torchvision", "accelerate", "huggingface_hub", "peft", "safetensors", "tensorboard", "timm")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OUTPUTS = ("run_dir", "output", "out", "runs")  # keys of the folders and files that commands write
OTHERWISE = {"root": "paths.data", "checkpoint": "base"}  # where a command has no key of an argument's own name


def with_keys(message: str, config: DictConfig) -> str:
    """Replace the arguments in a message by the keys that set them in a command's configuration.

    Args:
        message: such as ``model.backbone: no such file; name another with checkpoint=...``.
        config: composed.
    """
    section = message.partition(": ")[0]

    def corrected(found: re.Match[str]) -> str:
        name, value = found[1], found[2] or ""
        keys = {_source(config, key) for key in keys_of(config) if f".{key}".endswith(f".{name}")}
        within = keys & {f"{section}.{name}"}
        key = next(iter(within or (keys if len(keys) == 1 else ())), None)
        if name in config or (key is None and OTHERWISE.get(name, name).partition(".")[0] not in config):
            return found[0]
        text = f"{key or OTHERWISE.get(name, name)}={PYTHON.get(value, value)}"
        return shlex.quote(text) if set(value) & set(" '\"(){}&;") else text

    return ARGUMENT.sub(corrected, message)


def keys_of(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted key of each value in a configuration, without resolving any."""
    for name in node:
        child = node._get_node(name)
        yield f"{prefix}{name}"
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            yield from keys_of(child, f"{prefix}{name}.")


def written_value(config: DictConfig, key: str) -> Any:
    """Return what a file holds at a dotted key: a section, or a value as written, be it ``???`` or ``${...}``."""
    node: Any = config
    for name in key.split("."):
        node = node._get_node(name) if isinstance(node, DictConfig) else None
    return node._value() if isinstance(node, ValueNode) else node


def _source(config: DictConfig, key: str) -> str:
    """Return the key that a value is taken from: ``data.image_size`` for the backbone's ``${data.image_size}``."""
    whole = re.fullmatch(r"\$\{([\w.]+)\}", str(written_value(config, key)))
    return whole[1] if whole else key


@contextmanager
def user_errors(config: DictConfig | None = None) -> Iterator[None]:
    """Turn what the user can mend into one message and exit status 1; HYDRA_FULL_ERROR=1 shows the traceback instead.

    Args:
        config: of the command, for the keys of the arguments and outputs that a message names.
    """
    try:
        with without_unused_folders():
            yield
        if _is_distributed():
            sys.modules["torch"].distributed.destroy_process_group()
    except SystemExit as end:
        sys.exit(printable(end.code) if isinstance(end.code, str) else end.code)
    except StoppedError as stopped:
        sys.stderr.write(f"{printable(str(stopped))}\n")
        sys.exit(stopped.status)
    except Exception as error:
        message = _message(error, config)
        if message is None or os.environ.get(FULL_ERROR) == "1":
            raise
        sys.exit(printable(f"error: {message}\n({FULL_ERROR}=1 shows where)"))


def _message(error: Exception, config: DictConfig | None) -> str | None:
    """Explain an error that the user can mend, in one sentence; None for a fault of the program."""
    message = str(error).strip()
    if isinstance(error, RuntimeError):
        if killed := re.search(r"DataLoader worker \(pid.*\) (is killed|exited).*", message):
            return (
                f"a process that reads data has ended ({killed[0]:.200}). If memory ran out, lower "
                "engine.num_workers or make room; then continue with resume=true"
            )
        if type(error).__name__ == "OutOfMemoryError":  # torch's
            return _out_of_memory(message, [] if config is None else [*keys_of(config)])
        first_line = re.sub(r"^\[.*?\] ?", "", message.partition("\n")[0])  # without the places in torch's code
        if _is_distributed() and re.search(LOST, message, re.I):
            return (
                "another process of this run is gone or no longer answers: see its message, or its machine, then "
                f"continue with resume=true; if it was only slow, raise engine.timeout ({first_line:.200})"
            )
        if type(error).__name__ in APART:
            return (
                "the processes of this run did not find each other: start torchrun on each machine with the same "
                "--nnodes and --rdzv_endpoint=HOST:PORT, which all of them must reach, within engine.timeout "
                f"({first_line:.200})"
            )
        return None
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in OF_TORCH:
        return f"this command needs the package {error.name}: pip install -e '.[torch]'"
    if isinstance(error, ImportError):
        return message if "pip install" in message else None
    if isinstance(error, OSError) and error.errno is not None:  # as the system raised it, without a way out
        return _of_system(error, config)
    if isinstance(error, OmegaConfBaseException):
        message = message.partition("\n")[0]  # what follows is omegaconf's own bookkeeping
    elif not isinstance(error, ValueError | OSError | HydraException):
        return None
    if message.startswith("Caught "):
        # From a DataLoader's worker, which passes its traceback on as text; the reason stands at the end.
        message = message.rpartition("Error: ")[2]
    return message if config is None else with_keys(message, config)


def _out_of_memory(message: str, keys: list[str]) -> str:
    """Name the settings of a command by which it needs less of a device's memory."""
    sizes = [key for key in ("batch_size", "engine.eval_batch_size", "data.image_size") if key in keys]
    cpu = [text for text in ("device=cpu", "engine.cpu=true") if text.partition("=")[0] in keys]
    ways = [f"lower {' or '.join(sizes)}"] if sizes else []
    ways += [f"compute on the CPU with {text}" for text in cpu]
    return f"a device's memory ran out ({message.partition('. ')[0]:.200}); {', or '.join(ways) or 'make room on it'}"


def _of_system(error: OSError, config: DictConfig | None) -> str:
    """Name the path, or else the command's output, and the way out of an error of the system."""
    reason, given = error.strerror or type(error).__name__, {} if config is None else config
    if error.errno in FULL:
        outputs = [f"{key}={given[key]}" for key in OUTPUTS if given.get(key) is not None]
        where = error.filename or " or ".join(outputs) or "an output file"
        return (
            f"{where}: can't be written ({reason}); make room there, or name another place, and run the command again"
        )
    if error.filename is None:
        return reason
    return f"{error.filename}: {reason}; check the path, and your right to read or write there"


def _is_distributed() -> bool:
    """Return whether this process is one of several; without importing torch, which some commands never need."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized()
