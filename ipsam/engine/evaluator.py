"""Prediction on test sets, at the ground truth's size, and their scores."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ipsam.data import TestSet, collate_test
from ipsam.engine.metrics import LOWER_IS_BETTER, METRICS, PROTOCOL, Metrics

CONSTANTS = (0, 64, 128, 191, 255)  # greys from black to white
Scores = dict[str, float]
Prediction = tuple[str, NDArray[np.uint8], NDArray[np.uint8]]  # name, map of 0 to 255, mask


@dataclass(frozen=True)
class Evaluation:
    """Scores of each dataset, and of each image as rows of ``dataset``, ``name`` and the metrics."""

    datasets: dict[str, Scores]
    per_image: list[dict[str, str | float]]

    def write(self, folder: Path) -> None:
        """Write ``metrics.json`` and ``per_image.csv``."""
        folder.mkdir(parents=True, exist_ok=True)
        content = {"protocol": PROTOCOL, "datasets": self.datasets}
        (folder / "metrics.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        if self.per_image:
            with (folder / "per_image.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(self.per_image[0]))
                writer.writeheader()
                writer.writerows(self.per_image)


def to_map(logits: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Logits (1, hm, wm) of one image to its probability map of 0 to 255, (height, width) = ``size``, rounded."""
    resized = F.interpolate(logits[None].float(), size=size, mode="bilinear", align_corners=False)[0, 0]
    rounded: NDArray[np.uint8] = resized.sigmoid().mul(255).round().to(torch.uint8).cpu().numpy()
    return rounded


@torch.inference_mode()
def predict(
    model: nn.Module, test_set: TestSet, *, device: torch.device, bf16: bool, batch_size: int, num_workers: int
) -> Iterator[Prediction]:
    """Predictions for a test set, in its order."""
    model.eval()
    loader = DataLoader(test_set, batch_size=batch_size, num_workers=num_workers, collate_fn=collate_test)
    for images, masks, names in loader:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            logits = model(images.to(device)).logits
        for index, (mask, name) in enumerate(zip(masks, names, strict=True)):
            yield name, to_map(logits[index], mask.shape), mask


def score(name: str, predictions: Iterator[Prediction], total: int, maps: Path | None = None) -> Evaluation:
    """Scores of one dataset's predictions; if ``maps`` is a folder, each is saved there as ``<image's stem>.png``."""
    metrics = Metrics()
    rows: list[dict[str, str | float]] = []
    for image_name, prediction, mask in tqdm(
        predictions, total=total, desc=name, unit="image", leave=False, disable=None
    ):
        rows.append({"dataset": name, "name": image_name, **metrics.step(prediction, mask)})
        if maps is not None:
            maps.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(maps / f"{image_name}.png"), prediction):
                raise OSError(f"could not write the map {maps / image_name}.png")
    return Evaluation({name: {"num_images": len(rows), **metrics.results()}}, rows)


def evaluate(
    model: nn.Module,
    test_sets: Mapping[str, TestSet],
    *,
    device: torch.device,
    bf16: bool = False,
    batch_size: int = 1,
    num_workers: int = 0,
    maps: Path | None = None,
) -> Evaluation:
    """Scores of a model on each test set; maps go to ``maps/<dataset>/``."""

    def of_set(name: str, test_set: TestSet) -> Evaluation:
        predictions = predict(model, test_set, device=device, bf16=bf16, batch_size=batch_size, num_workers=num_workers)
        return score(name, predictions, len(test_set), None if maps is None else maps / name)

    return _joined(of_set, test_sets)


def evaluate_constant(test_sets: Mapping[str, TestSet]) -> Evaluation:
    """The best that a map without any information reaches: of ``CONSTANTS``, the best in each metric by itself."""

    def of_set(name: str, test_set: TestSet) -> Evaluation:
        metrics = [Metrics() for _ in CONSTANTS]
        for index in tqdm(range(len(test_set)), desc=f"{name}, constant maps", unit="image", leave=False, disable=None):
            mask = test_set.source.read(index, draw=0).mask
            for value, accumulated in zip(CONSTANTS, metrics, strict=True):
                accumulated.step(np.full_like(mask, value), mask)
        results = [accumulated.results() for accumulated in metrics]
        best = {
            metric: (min if metric in LOWER_IS_BETTER else max)(result[metric] for result in results)
            for metric in METRICS
        }
        return Evaluation({name: {"num_images": len(test_set), **best}}, [])

    return _joined(of_set, test_sets)


def _joined(of_set: Callable[[str, TestSet], Evaluation], test_sets: Mapping[str, TestSet]) -> Evaluation:
    parts = [of_set(name, test_set) for name, test_set in test_sets.items()]
    return Evaluation(
        {name: scores for part in parts for name, scores in part.datasets.items()},
        [row for part in parts for row in part.per_image],
    )
