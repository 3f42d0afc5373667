"""Options of a benchmark, checked, with defaults for a CPU or a GPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ipsam.model.backbones.backbone import MULTIPLE
from ipsam.model.backbones.sam2 import SAM2_YAML
from ipsam.utils.device import best_device, checked_device, uses_bf16


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """The model to time, the device, the inputs and the number of repeats.

    Attributes:
        device: a CPU or a CUDA device; memory cannot be measured on others.
        repeats: number of timings, of which the median counts.
        variant: variant of the backbone.
        sizes: sides of the square input in pixels.
        batches: batch sizes.
        compile: also time ``torch.compile``.
        images: number of images to evaluate.
        ckpt: model to export; None: random weights.
        photos, masks: folders of images and masks; None: generated ones.
        stems: file with the stems of the photos to score.
    """

    device: torch.device
    repeats: int = 9
    variant: str = "large"
    sizes: Sequence[int] = ()
    batches: Sequence[int] = ()
    compile: bool = False
    images: int = 1000
    ckpt: str | None = None
    photos: Path | None = None
    masks: Path | None = None
    stems: Path | None = None

    @classmethod
    def of(
        cls,
        defaults: Mapping[str, Mapping[str, Any]],
        *,
        device: str | None = None,
        threads: int | None = None,
        **given: Any,
    ) -> "BenchmarkOptions":
        """Check the given options and complete them by a benchmark's defaults for the type of device.

        Raises:
            ValueError: the device is not usable, or another option has an invalid value.
        """
        chosen = best_device() if device is None else checked_device(device)
        if chosen.type not in ("cpu", "cuda"):
            if device is not None:
                raise ValueError(f"--device must be cpu or cuda, not {device}")
            chosen = torch.device("cpu")
        if given.get("variant", "large") not in SAM2_YAML:
            raise ValueError(f"--variant must be one of {', '.join(SAM2_YAML)}, not {given['variant']!r}")
        for name in ("sizes", "batches"):
            if name in given and (not given[name] or min(given[name]) < 1):
                raise ValueError(f"--{name} must be positive integers, not {list(given[name])}")
        if odd := [str(size) for size in given.get("sizes", ()) if size % MULTIPLE]:
            raise ValueError(f"--sizes must be multiples of {MULTIPLE}, not {', '.join(odd)}")
        for name, value in (("repeats", given.get("repeats", 1)), ("threads", threads)):
            if value is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1, not {value}")
        if threads is not None:
            torch.set_num_threads(threads)
        return cls(device=chosen, **{**defaults.get(chosen.type, {}), **given})

    @property
    def precision(self) -> str:
        """Precision that training and inference choose on the device: ``bf16`` or ``fp32``."""
        return "bf16" if uses_bf16("auto", self.device) else "fp32"
