"""Device, precision, memory and compilation."""

import ctypes
import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import nn

from ipsam.utils.folders import cache_folder

if TYPE_CHECKING:
    from accelerate import PartialState

NUM_PRODUCTS = 10  # whose best measures a device's rate, as other processes disturb it
CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
MAX_MMAP_THRESHOLD = 1 << 25  # bytes; glibc takes no more
PRECISIONS = ("auto", "fp32", "bf16")


def best_device() -> torch.device:
    """Return a CUDA device, else Apple's, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def processes(*, cpu: bool, timeout: float | None = None) -> "PartialState":
    """Join the processes that a launcher such as torchrun started, with or without GPUs.

    Accelerate by itself takes each process for the only one if there is neither a GPU nor ``cpu=True``.

    Args:
        timeout: seconds to wait for the others, here and whenever they work together; None: torch's default. The first
            call decides.
    """
    from accelerate import PartialState  # takes a second, which prediction need not wait for

    limit = {} if timeout is None else {"timeout": timedelta(seconds=timeout)}
    return PartialState(cpu=cpu or best_device().type == "cpu", **limit)


def checked_device(device: torch.device | str) -> torch.device:
    """Return a device after trying it.

    Raises:
        ValueError: it is not available.
    """
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()
    except Exception as error:  # each kind of device has errors of its own
        raise ValueError(
            f"device={device!s:.99} can't be used here ({next(iter(str(error).splitlines()), '')!s:.150}); "
            f"{best_device().type} can"
        ) from error
    return chosen


def uses_bf16(precision: str, device: torch.device) -> bool:
    """Return whether to compute in bf16, with weights in fp32; ``auto`` does so on a CUDA device that has it.

    Raises:
        ValueError: the precision is not one of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16"


def keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next allocation; elsewhere do nothing.

    By itself it returns large tensors to the kernel, which must clear each page again at the next step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MAX_MMAP_THRESHOLD)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def matrix_rate(device: torch.device, *, bf16: bool, side: int) -> float:
    """Measure the FLOP/s of a matrix product, about the most that a device reaches. No global generator is drawn from.

    Args:
        side: of the square matrices.
    """
    from torch.utils.benchmark.utils.timer import timer  # waits for the GPU first; imported late, as few need it

    generator = torch.Generator(device)
    dtype = torch.bfloat16 if bf16 else torch.float32
    matrix = torch.randn(side, side, generator=generator, device=device, dtype=dtype)
    seconds = []
    for _ in range(NUM_PRODUCTS):
        began = timer()
        matrix @ matrix
        seconds.append(timer() - began)
    return float(2 * side**3 / min(seconds))


def compile_model(model: nn.Module) -> None:
    """Compile a model at its first call, in place, and again for each new input shape.

    The compiler's files are kept in the cache folder, or where ``TORCHINDUCTOR_CACHE_DIR`` says.
    """
    # Imported late, as it takes seconds. The compiler itself sets the variable to a folder that a reboot may clear.
    from torch._inductor.runtime.runtime_utils import default_cache_dir

    if os.environ.get(CACHE_VARIABLE, default_cache_dir()) == default_cache_dir():
        os.environ[CACHE_VARIABLE] = str(cache_folder() / "compiled")
    model.compile(dynamic=False)
