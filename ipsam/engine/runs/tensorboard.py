"""A run's log for TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter


class Log:
    """Writer of scalars and pictures; without a folder it writes nothing, as on all processes but the main one.

    Args:
        folder: of the event files.
        purge_step: drop the entries from this optimiser step on, which an interrupted run left.
    """

    def __init__(self, folder: Path | None, *, purge_step: int | None = None) -> None:
        self._writer = None if folder is None else SummaryWriter(str(folder), purge_step=purge_step)

    def scalars(self, group: str, values: Mapping[str, float | Tensor], step: int) -> None:
        """Write ``group/name`` for each value."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", float(torch.as_tensor(value).detach()), step)

    def picture(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """Write an RGB picture (height, width, 3)."""
        if self._writer is not None:
            self._writer.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush everything to disk."""
        if self._writer is not None:
            self._writer.close()
