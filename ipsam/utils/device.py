"""Where to compute, and how precisely."""

import os

import torch
from torch import nn

from ipsam.utils.folders import cache_folder

FOLDER = "TORCHINDUCTOR_CACHE_DIR"

PRECISIONS = ("auto", "fp32", "bf16")


def best_device() -> torch.device:
    """A CUDA device, else Apple's, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def checked_device(device: torch.device | str) -> torch.device:
    """A device that is there.

    Raises:
        ValueError: it isn't, or is none.
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
    """Whether to compute in bf16, the weights staying in fp32; ``auto`` is: on a CUDA device that has it.

    Raises:
        ValueError: for a precision that is none of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return precision == "bf16"


def compile_model(model: nn.Module) -> None:
    """Have a model compiled at its first call, in place; what the compiler makes is kept in the cache folder.

    It is compiled anew for each shape of the input. The environment variable ``TORCHINDUCTOR_CACHE_DIR`` names another
    folder.
    """
    # Here, as it takes seconds; once imported, the compiler sets the variable itself, to what a restart may clear.
    from torch._inductor.runtime.runtime_utils import default_cache_dir

    if os.environ.get(FOLDER, default_cache_dir()) == default_cache_dir():
        os.environ[FOLDER] = str(cache_folder() / "compiled")
    model.compile(dynamic=False)
