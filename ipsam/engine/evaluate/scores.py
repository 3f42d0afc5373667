"""Scores of datasets, and their files."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipsam.data.files import some
from ipsam.engine.metrics import ALL_METRICS, METRICS, CurveSum, ImageScores, Protocol, Scores, means
from ipsam.engine.metrics.tables import num_images
from ipsam.utils.files import Content, as_csv, as_json, as_parquet, csv_parts, write_files

ScoreRow = dict[str, str | float]  # of an image: texts and its score in each metric


@dataclass
class Scored(Sequence[ScoreRow]):
    """Rows of ``name`` and the metrics, one for each image of a dataset, held in an eighth of what dictionaries take.

    Attributes:
        names: of the images.
        values: scores of one image after the other, in the order of ``metrics``.
        curves: sum of the images' curves.
        remarks: number of images for each of the model's remarks.
        metrics: names of the metrics.
    """

    names: list[str] = field(default_factory=list)
    values: "array[float]" = field(default_factory=lambda: array("d"))
    curves: CurveSum = field(default_factory=CurveSum, compare=False)
    remarks: Counter[str] = field(default_factory=Counter)
    metrics: Sequence[str] = tuple(METRICS)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        """Return an image's row."""
        index, width = range(len(self))[index], len(self.metrics)
        scores = zip(self.metrics, self.values[index * width : (index + 1) * width], strict=True)
        return {"name": self.names[index], **dict(scores)}

    def add(self, name: str, image: ImageScores) -> None:
        """Add an image."""
        self.names.append(name)
        self.values.extend(image.scores[metric] for metric in self.metrics)
        self.curves.add(image.curves)

    def of(self, metric: str) -> Sequence[float]:
        """Return the images' scores in one metric."""
        return self.values[self.metrics.index(metric) :: len(self.metrics)]

    def means(self) -> tuple[Scores, dict[str, NDArray[np.float64]]]:
        """Average the scores of at least one image, and the curves."""
        return means({name: self.of(name) for name in self.metrics}, self.curves)

    @classmethod
    def united(cls, shares: Sequence["Scored"], batch_size: int = 1) -> "Scored":
        """Unite the shares that ``Shard.of`` made of a dataset, in its order."""
        if len(shares) == 1:
            return shares[0]
        whole, taken = cls(metrics=shares[0].metrics), [0] * len(shares)
        width = len(whole.metrics)
        for index in range(sum(map(len, shares))):
            number = index // batch_size % len(shares)
            share, position = shares[number], taken[number]
            whole.names.append(share.names[position])
            whole.values.extend(share.values[position * width : (position + 1) * width])
            taken[number] += 1
        for share in shares:
            whole.curves += share.curves
            whole.remarks += share.remarks
        return whole


@dataclass(frozen=True)
class Evaluation:
    """Scores of one method on some datasets.

    Attributes:
        datasets: ``num_images``, ``num_left_out`` (if any) and the metrics of each dataset.
        images: scores of the images of each dataset; empty if only the means are known.
        curves: by dataset and name of the curve, (256,) at the thresholds 255/255 to 0.
        protocol: rules of scoring.
        remarks: number of images for each remark, by dataset.
        left_out: images of each dataset that were not scored, by the reason.
        epochs: number of epochs that the model was trained for; None if unknown or untrained.
        skipped_steps: number of its optimiser steps that were skipped, as a number was not finite; None if unknown.
    """

    datasets: dict[str, Scores] = field(default_factory=dict)
    images: dict[str, Scored] = field(default_factory=dict)
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
            whole.images.update(part.images)
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

    def rows(self) -> Iterator[ScoreRow]:
        """Yield the rows of ``per_image.csv``; images that were left out have the reason and no scores."""
        for dataset, images in self.images.items():
            yield from ({"dataset": dataset, **row} for row in images)
        for dataset, reasons in self.left_out.items():
            for reason, names in reasons.items():
                for name in names:
                    yield {"dataset": dataset, "name": name, "left_out": reason}

    def curve_rows(self) -> Iterator[ScoreRow]:
        """Yield the rows of ``curves.csv``."""
        for dataset, curves in self.curves.items():
            for index in range(256):
                points = {name: float(curve[index]) for name, curve in curves.items()}
                yield {"dataset": dataset, "threshold": 255 - index, **points}

    def write(self, folder: Path, *, parquet: bool = False) -> None:
        """Write ``metrics.json`` and, if there are scores of single images, the files of ``score_tables``."""
        optional: dict[str, object] = {"epochs": self.epochs, "skipped_steps": self.skipped_steps}
        optional |= {"remarks": self.remarks or None, "left_out": self.left_out or None}
        content = {"protocol": self.protocol.describe(), "datasets": self.datasets, **optional}
        files = {"metrics.json": as_json({name: value for name, value in content.items() if value is not None})}
        write_files(folder, files | score_tables({"": self}, parquet=parquet))


def check_parquet() -> None:
    """Check that the package is there that writes Parquet."""
    if find_spec("pyarrow") is None:
        raise ValueError("parquet=true needs the package pyarrow: pip install -e '.[parquet]'")


def score_tables(methods: Mapping[str, Evaluation], *, parquet: bool = False) -> dict[str, Content]:
    """Format ``per_image.csv`` and ``curves.csv``, each if it has a row; a method's name makes a column.

    With ``parquet`` there is also ``per_image.parquet``, with the same columns.
    """

    def rows(of: Callable[[Evaluation], Iterable[ScoreRow]]) -> Iterator[ScoreRow]:
        for name, one in methods.items():
            yield from ({"method": name, **row} if name else row for row in of(one))

    fields = [*(["method"] if any(methods) else []), "dataset", "name"]
    fields += {name: None for one in methods.values() for images in one.images.values() for name in images.metrics}
    fields += ["left_out"] if any(one.left_out for one in methods.values()) else []
    files: dict[str, Content] = {}
    if any(one.images or one.left_out for one in methods.values()):
        files["per_image.csv"] = csv_parts(rows(Evaluation.rows), fields)
        if parquet:
            types = {name: float if name in ALL_METRICS else str for name in fields}
            files["per_image.parquet"] = as_parquet(rows(Evaluation.rows), types)
    if any(one.curves for one in methods.values()):
        files["curves.csv"] = as_csv(rows(Evaluation.curve_rows))
    return files


def ranking(scores: Sequence[float], metric: str) -> list[int]:
    """Return the indices of scores from the best to the worst in a metric; values that are not finite come last."""
    values = np.asarray(scores, np.float64)
    keys = np.where(np.isfinite(values), -ALL_METRICS[metric].sign * values, np.inf)
    order: list[int] = np.argsort(keys, kind="stable").tolist()
    return order
