"""Scores of datasets, and their files."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics import METRICS, Protocol
from ipsam.utils.files import write_csv, write_json

Scores = dict[str, float]


@dataclass(frozen=True)
class Evaluation:
    """Scores of one method on some datasets.

    Attributes:
        datasets: ``num_images`` and the metrics of each dataset.
        per_image: rows of ``dataset``, ``name`` and the metrics.
        curves: by dataset and name of the curve, (256,) at the thresholds 255/255 to 0.
        protocol: rules of scoring.
        remarks: number of images for each remark of the model, by dataset.
        epochs: number of epochs that the model was trained for; None if unknown or untrained.
    """

    datasets: dict[str, Scores] = field(default_factory=dict)
    per_image: list[dict[str, str | float]] = field(default_factory=list)
    curves: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict, compare=False)
    protocol: Protocol = field(default_factory=Protocol)
    remarks: dict[str, dict[str, int]] = field(default_factory=dict)
    epochs: int | None = None

    @classmethod
    def joined(cls, parts: Iterable["Evaluation"], protocol: Protocol) -> "Evaluation":
        """Join the evaluations of several datasets."""
        whole = cls(protocol=protocol)
        for part in parts:
            whole.datasets.update(part.datasets)
            whole.per_image.extend(part.per_image)
            whole.curves.update(part.curves)
            whole.remarks.update(part.remarks)
        return whole

    def write(self, folder: Path) -> None:
        """Write ``metrics.json`` and, if there are scores of single images, ``per_image.csv``."""
        content: dict[str, object] = {"protocol": self.protocol.describe(), "datasets": self.datasets}
        optional = {"epochs": self.epochs, "remarks": self.remarks or None}
        content |= {name: value for name, value in optional.items() if value is not None}
        write_json(folder / "metrics.json", content)
        if self.per_image:
            write_csv(folder / "per_image.csv", self.per_image)


def ranking(scores: Sequence[float], metric: str) -> list[int]:
    """Return the indices of scores from the best to the worst in a metric; values that are not finite come last."""
    sign = METRICS[metric].sign
    return sorted(range(len(scores)), key=lambda i: -sign * scores[i] if math.isfinite(scores[i]) else math.inf)
