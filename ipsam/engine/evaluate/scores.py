"""Scores of datasets, and their files."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ipsam.data.files import some
from ipsam.engine.metrics import METRICS, Protocol, Scores
from ipsam.utils.files import write_csv, write_json


@dataclass(frozen=True)
class Evaluation:
    """Scores of one method on some datasets.

    Attributes:
        datasets: ``num_images`` and the metrics of each dataset.
        per_image: rows of ``dataset``, ``name`` and the metrics.
        curves: by dataset and name of the curve, (256,) at the thresholds 255/255 to 0.
        protocol: rules of scoring.
        remarks: number of images for each remark, by dataset.
        left_out: images of each dataset that were not scored, by the reason.
        epochs: number of epochs that the model was trained for; None if unknown or untrained.
    """

    datasets: dict[str, Scores] = field(default_factory=dict)
    per_image: list[dict[str, str | float]] = field(default_factory=list)
    curves: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict, compare=False)
    protocol: Protocol = field(default_factory=Protocol)
    remarks: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: dict[str, dict[str, list[str]]] = field(default_factory=dict)
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
            whole.left_out.update(part.left_out)
        return whole

    def num_images(self, dataset: str) -> str:
        """Return how many images were scored, and of how many, if some were left out."""
        num, num_left_out = self.datasets[dataset]["num_images"], sum(map(len, self.left_out.get(dataset, {}).values()))
        return f"{num:.0f} of {num + num_left_out:.0f}" if num_left_out else f"{num:.0f}"

    def notes(self) -> list[str]:
        """Say in a line each which images were left out and why, and which remarks there are."""
        lines = []
        for dataset, reasons in self.left_out.items():
            listed = "; ".join(f"{len(names)} {reason}: {some(names)}" for reason, names in reasons.items() if names)
            lines += [f"{dataset}: {self.num_images(dataset)} images are scored, {listed}"] if listed else []
        for dataset, remarks in self.remarks.items():
            num = self.datasets[dataset]["num_images"]
            lines += [f"{dataset}: {text} in {n} of {num:.0f} images ({n / num:.1%})" for text, n in remarks.items()]
        return lines

    def rows(self) -> list[dict[str, str | float]]:
        """Return the rows of ``per_image.csv``: scored images, then those left out with the reason."""
        left_out = [
            {"dataset": dataset, "name": name, "left_out": reason}
            for dataset, reasons in self.left_out.items()
            for reason, names in reasons.items()
            for name in names
        ]
        return [*self.per_image, *left_out]

    def content(self) -> dict[str, object]:
        """Return the content of ``metrics.json``."""
        optional = {"epochs": self.epochs, "remarks": self.remarks or None, "left_out": self.left_out or None}
        return {
            "protocol": self.protocol.describe(),
            "datasets": self.datasets,
            **{name: value for name, value in optional.items() if value is not None},
        }

    def write(self, folder: Path) -> None:
        """Write ``metrics.json`` and, if there are scores of single images, ``per_image.csv`` and ``curves.csv``."""
        write_json(folder / "metrics.json", self.content())
        if self.per_image:
            write_csv(folder / "per_image.csv", self.rows())
        if self.curves:
            write_csv(folder / "curves.csv", self.curve_rows())

    def curve_rows(self) -> Iterator[dict[str, str | float]]:
        """Yield the rows of ``curves.csv``: the curves' values at each threshold of a dataset."""
        for dataset, curves in self.curves.items():
            for index, threshold in enumerate(range(255, -1, -1)):
                values = {name: float(curve[index]) for name, curve in curves.items()}
                yield {"dataset": dataset, "threshold": threshold, **values}


def ranking(scores: Sequence[float], metric: str) -> list[int]:
    """Return the indices of scores from the best to the worst in a metric; values that are not finite come last."""
    sign = METRICS[metric].sign
    return sorted(range(len(scores)), key=lambda i: -sign * scores[i] if math.isfinite(scores[i]) else math.inf)
