"""Masks and maps to score, scores made up, and helpers that read the output of scripts/score.py."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import fastjsonschema
import numpy as np
from PIL import Image

from ipsam.engine.evaluate.scores import Scored
from ipsam.engine.metrics import CURVES, METRICS, ImageScores

SIZE = (48, 64)


def mask_of(number: int) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[10 + number : 30, 20 : 40 + number] = 255
    return mask


def save(path: Path, pixels: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def write_masks(folder: str, stems: tuple[str, ...] = ("a", "b", "c")) -> None:
    for number, stem in enumerate(stems):
        save(Path(folder, f"{stem}.png"), mask_of(number))


def write_maps(folder: str, stems: tuple[str, ...] = ("a", "b", "c"), blur: float = 2) -> None:
    for number, stem in enumerate(stems):
        save(Path(folder, f"{stem}.png"), cv2.GaussianBlur(mask_of(number), (0, 0), blur))


def scored(images: Mapping[str, Mapping[str, float]]) -> Scored:
    """Scores of some images, by name; metrics that are not given are 0."""
    made = Scored()
    for name, scores in images.items():
        made.add(name, ImageScores(dict.fromkeys(METRICS, 0.0) | dict(scores), np.full((len(CURVES), 256), 0.125)))
    return made


def read_metrics(path: str | Path) -> Any:
    """Read a metrics.json, which must follow the published schema."""
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    follows_schema()(content)
    return content


@cache
def follows_schema() -> Callable[[Any], object]:
    """Return what raises an error for content that the schema of metrics.json does not allow."""
    schema: dict[str, Any] = json.loads(files("ipsam.engine.evaluate").joinpath("metrics.schema.json").read_bytes())
    check: Callable[[Any], object] = fastjsonschema.compile(schema)
    return check


def failed(done: Any) -> str:
    """Check that a script failed with one clean error and wrote nothing; return its message."""
    assert done.status == 1
    assert "Traceback" not in done.err
    assert done.err.count("error: ") == 1
    assert not Path("out").exists()
    return done.err


def row(done: Any, dataset: str) -> list[str]:
    """Return the cells of the printed table's first line for a dataset."""
    line = next(line for line in done.out.splitlines() if line.startswith(f"| {dataset} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def quoted(text: str) -> str:
    """Quote a path for Hydra, as --help explains."""
    return '"' + text.replace('"', '\\"') + '"'
