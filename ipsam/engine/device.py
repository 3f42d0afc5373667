"""Where to compute, and how precisely."""

import torch

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
