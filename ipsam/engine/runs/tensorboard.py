"""A run's log for TensorBoard."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)


class Log:
    """Writer of scalars and pictures, from the first of them on.

    Without a folder it writes nothing, as on all processes but the main one. A failure, such as a full disk, ends the
    log with a warning, and never the work that it is about.

    Args:
        folder: of the event files.
        purge_step: drop the entries from this optimiser step on, which an interrupted run left.
    """

    def __init__(self, folder: Path | None, *, purge_step: int | None = None) -> None:
        self.folder, self.purge_step = folder, purge_step
        self._writer: SummaryWriter | None = None

    def _write(self, write: Callable[[SummaryWriter], object]) -> None:
        if self.folder is None:
            return
        try:
            if self._writer is None:
                self._writer = SummaryWriter(str(self.folder), purge_step=self.purge_step)
            write(self._writer)
        except OSError as error:
            logger.warning("the log in %s ends here: %s; everything else goes on", self.folder, error.strerror or error)
            self.folder = None

    def scalars(self, group: str, values: Mapping[str, float | Tensor], step: int) -> None:
        """Write ``group/name`` for each value."""

        def write(writer: SummaryWriter) -> None:
            for name, value in values.items():
                writer.add_scalar(f"{group}/{name}", float(torch.as_tensor(value).detach()), step)

        self._write(write)

    def picture(self, name: str, picture: NDArray[np.uint8], step: int) -> None:
        """Write an RGB picture (height, width, 3)."""
        self._write(lambda writer: writer.add_image(name, picture, step, dataformats="HWC"))

    def close(self) -> None:
        """Flush everything to disk."""
        if self._writer is not None:
            self._write(SummaryWriter.close)
