"""Scores of datasets, and their files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ipsam.data.files import some
from ipsam.engine.metrics import METRICS, Protocol, Scores
from ipsam.engine.metrics.tables import num_images
from ipsam.utils.files import as_csv, as_json, write_files


@dataclass(frozen=True)
class Evaluation:
    """Scores of one method on some datasets.

    Attributes:
        datasets: ``num_images``, ``num_left_out`` (if any) and the metrics of each dataset.
        per_image: rows of ``dataset``, ``name`` and the metrics.
        curves: by dataset and name of the curve, (256,) at the thresholds 255/255 to 0.
        protocol: rules of scoring.
        remarks: number of images for each remark, by dataset.
        left_out: images of each dataset that were not scored, by the reason.
        epochs: number of epochs that the model was trained for; None if unknown or untrained.
        skipped_steps: number of its optimiser steps that were skipped, as a number was not finite; None if unknown.
    """

    datasets: dict[str, Scores] = field(default_factory=dict)
    per_image: list[dict[str, str | float]] = field(default_factory=list)
    curves: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict, compare=False)
    protocol: Protocol = field(default_factory=Protocol)
    remarks: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    epochs: int | None = None
    skipped_steps: int | None = None

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

    def without(self, dataset: str, left_out: Mapping[str, list[str]]) -> "Evaluation":
        """Record the images of a dataset that were not scored, by the reason."""
        if left_out:
            self.datasets[dataset]["num_left_out"] = sum(map(len, left_out.values()))
            self.left_out[dataset] = dict(left_out)
        return self

    def notes(self) -> list[str]:
        """Say in a line each which images were left out and why, and which remarks there are."""
        lines = [f"{self.skipped_steps} steps of the training were skipped"] if self.skipped_steps else []
        for dataset, reasons in self.left_out.items():
            listed = "; ".join(f"{len(names)} {reason}: {some(names)}" for reason, names in reasons.items())
            lines.append(f"{dataset}: only {num_images(self.datasets[dataset])} images are scored, {listed}")
        for dataset, remarks in self.remarks.items():
            num = self.datasets[dataset]["num_images"]
            lines += [f"{dataset}: {text} in {n} of {num:.0f} images ({n / num:.1%})" for text, n in remarks.items()]
        return lines

    def files(self, **columns: str) -> dict[str, list[dict[str, str | float]]]:
        """Return the rows of ``per_image.csv`` and ``curves.csv``, behind columns of the same text in every row.

        Images that were left out have a row with the reason and without scores.
        """
        others: list[dict[str, str | float]] = [
            {"dataset": dataset, "name": name, "left_out": reason}
            for dataset, reasons in self.left_out.items()
            for reason, names in reasons.items()
            for name in names
        ]
        curves: list[dict[str, str | float]] = [
            {"dataset": dataset, "threshold": 255 - index, **{name: float(curve[index]) for name, curve in of.items()}}
            for dataset, of in self.curves.items()
            for index in range(256)
        ]
        files = {"per_image.csv": [*self.per_image, *others], "curves.csv": curves}
        return {name: [{**columns, **row} for row in rows] for name, rows in files.items()}

    def write(self, folder: Path) -> None:
        """Write ``metrics.json`` and, if there are scores of single images, ``per_image.csv`` and ``curves.csv``."""
        optional: dict[str, object] = {"epochs": self.epochs, "skipped_steps": self.skipped_steps}
        optional |= {"remarks": self.remarks or None, "left_out": self.left_out or None}
        content = {"protocol": self.protocol.describe(), "datasets": self.datasets, **optional}
        files = {"metrics.json": as_json({name: value for name, value in content.items() if value is not None})}
        write_files(folder, files | {name: as_csv(rows) for name, rows in self.files().items() if rows})


def ranking(scores: Sequence[float], metric: str) -> list[int]:
    """Return the indices of scores from the best to the worst in a metric; values that are not finite come last."""
    sign = METRICS[metric].sign
    return sorted(range(len(scores)), key=lambda i: -sign * scores[i] if math.isfinite(scores[i]) else math.inf)
