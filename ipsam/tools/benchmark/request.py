"""What is asked of a benchmark of the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ipsam.model.backbone import MULTIPLE, SAM2_YAML
from ipsam.tools.benchmark import Report as Report
from ipsam.tools.benchmark.timing import check_repeats
from ipsam.utils.device import best_device, checked_device


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a benchmark takes where nothing is asked for, on one kind of device."""

    sizes: Sequence[int]
    batches: Sequence[int]
    repeats: int


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which model to time, where, on which inputs, how often.

    Attributes:
        configs: the folder ``configs/`` of the repository.
        device: where to compute.
        variant: of the backbone.
        sizes: sides of the square input in pixels.
        batches: images that go through the model together.
        repeats: of each timing.
        compile: also time what ``torch.compile`` makes of it.
    """

    configs: Path
    device: torch.device
    variant: str
    sizes: Sequence[int]
    batches: Sequence[int]
    repeats: int
    compile: bool = False


def request_of(
    cpu: Defaults,
    cuda: Defaults,
    *,
    configs: Path,
    device: str | None = None,
    variant: str = "large",
    sizes: Sequence[int] | None = None,
    batches: Sequence[int] | None = None,
    repeats: int | None = None,
    compile: bool = False,
) -> Request:
    """A request as on the command line; what is None is the default of a CPU or of a GPU.

    Raises:
        ValueError: for a device that is not there or can't be measured, an unknown variant, or numbers that can't be.
    """
    chosen = _device(device)
    if variant not in SAM2_YAML:
        raise ValueError(f"--variant must be one of {', '.join(SAM2_YAML)}, not {variant!r}")
    defaults = cuda if chosen.type == "cuda" else cpu
    for option, numbers in (("--sizes", sizes), ("--batches", batches)):
        if numbers is not None and (not numbers or min(numbers) < 1):
            raise ValueError(f"{option} must be whole numbers from 1, not {list(numbers)}")
    if odd := [size for size in sizes or () if size % MULTIPLE]:
        raise ValueError(f"--sizes must be multiples of {MULTIPLE}, not {', '.join(map(str, odd))}")
    if repeats is not None:
        check_repeats(repeats)
    return Request(
        configs=configs,
        device=chosen,
        variant=variant,
        sizes=sizes or defaults.sizes,
        batches=batches or defaults.batches,
        repeats=repeats or defaults.repeats,
        compile=compile,
    )


def _device(asked: str | None) -> torch.device:
    """A CPU or a CUDA device: of no other is memory known, nor what a step takes."""
    chosen = best_device() if asked is None else checked_device(asked)
    if chosen.type in ("cpu", "cuda"):
        return chosen
    if asked is None:
        return torch.device("cpu")
    raise ValueError(f"--device must be cpu or cuda, not {asked}")
