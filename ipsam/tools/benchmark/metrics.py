"""The fused metrics against PySODMetrics, and one process against two."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.saved_maps.map_pairs import SavedMap
from ipsam.engine.evaluate.scoring import score_set
from ipsam.engine.metrics import Protocol, measure
from ipsam.engine.metrics.tables import markdown
from ipsam.tools.benchmark.timing import check_repeats, environment, side_by_side

SIZES = ((300, 400), (640, 960), (1080, 1920))  # height, width
SPECKLED = (640, 960)  # the size at which masks of scattered pixels are scored too: the hardest there are
PIXELS_SCORED = 120_000_000  # by one and by two processes; enough that starting a process does not count
Scene = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # prediction, mask


def benchmark_metrics(*, repeats: int = 9, num_scenes: int = 6) -> tuple[str, dict[str, Any]]:
    """Time both for each of ``SIZES``, and for speckled masks.

    Args:
        repeats: of each timing, and a third of it of the slow ones with processes; medians are given.
        num_scenes: different predictions, a third of them each good, displaced, noisy.

    Returns:
        A Markdown table, and the same as data: milliseconds per image, and ratios.

    Raises:
        ValueError: PySODMetrics is not installed, or ``repeats`` is below 1.
    """
    check_repeats(repeats)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)  # one thread
    try:
        rows = [_row("smooth", [_scene(size, seed) for seed in range(num_scenes)], repeats) for size in SIZES]
        rows.append(_row("speckled", [_speckled(SPECKLED, seed) for seed in range(num_scenes)], repeats))
    finally:
        cv2.setNumThreads(threads)
    header = ["8-bit map", "mask", "ipsam, ms", "PySODMetrics, ms", "times faster", "two processes, times one"]
    cells = [
        [
            "{} x {}".format(*row["size"]),
            row["mask"],
            f"{row['ipsam_ms']:.1f}",
            f"{row['pysodmetrics_ms']:.1f}",
            f"{row['ratio']:.1f}",
            f"{row['two_processes']:.2f}",
        ]
        for row in rows
    ]
    about = environment("ipsam", "numpy", "opencv-python-headless", "pysodmetrics")
    notes = [
        f"All metrics that both give, one thread, medians of {repeats}. Smooth: a few ellipses; speckled: 4 % of the",
        f"pixels, scattered. Last column, medians of {_slow(repeats)}: score.py's way from PNG files to the scores.",
        ", ".join(f"{name} {value}" for name, value in about.items()),
    ]
    return f"{markdown(header, cells)}\n\n{chr(10).join(notes)}", {"environment": about, "rows": rows}


def _slow(repeats: int) -> int:
    return max(1, repeats // 3)


def _scene(size: tuple[int, int], seed: int) -> Scene:
    """A few ellipses, and a prediction of them as a network makes it."""
    rng = np.random.default_rng(seed)
    height, width = size
    mask = np.zeros(size, np.uint8)
    for _ in range(int(rng.integers(1, 4))):
        centre = int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.2, 0.8) * height)
        axes = int(rng.uniform(0.08, 0.2) * width), int(rng.uniform(0.08, 0.2) * height)
        cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    moved = np.roll(mask, (0, height // 10, 0)[seed % 3], axis=1).astype(np.float32)
    soft = cv2.GaussianBlur(moved, (0, 0), height / 100) + rng.normal(0, (1, 1, 12)[seed % 3], size)
    return soft.clip(0, 255).astype(np.uint8), mask


def _speckled(size: tuple[int, int], seed: int) -> Scene:
    """Objects of a pixel each, and a prediction of them."""
    rng = np.random.default_rng(seed)
    mask = (rng.random(size) < 0.04).astype(np.uint8) * np.uint8(255)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1) * 3 + rng.normal(0, 12, size)
    return soft.clip(0, 255).astype(np.uint8), mask


def _row(kind: str, scenes: Sequence[Scene], repeats: int) -> dict[str, Any]:
    protocol, size = Protocol(), scenes[0][0].shape
    taken = side_by_side(
        {
            "ipsam": lambda: [measure(*scene, protocol) for scene in scenes],
            "pysodmetrics": lambda: [_reference(*scene) for scene in scenes],
        },
        repeats=repeats,
    )
    with tempfile.TemporaryDirectory() as folder:
        saved = [_saved(scene, Path(folder), str(index)) for index, scene in enumerate(scenes)]
        jobs = saved * (PIXELS_SCORED // (size[0] * size[1] * len(saved)))

        def score(num_workers: int) -> None:
            score_set("scenes", jobs, len(jobs), protocol=protocol, num_workers=num_workers)

        scored = side_by_side({"one": lambda: score(0), "two": lambda: score(2)}, repeats=_slow(repeats))
    return {
        "size": size,
        "mask": kind,
        **{f"{name}_ms": 1000 * seconds / len(scenes) for name, seconds in taken.items()},
        "ratio": taken["pysodmetrics"] / taken["ipsam"],
        "two_processes": scored["one"] / scored["two"],
    }


def _saved(scene: Scene, folder: Path, stem: str) -> SavedMap:
    paths = folder / f"{stem}_map.png", folder / f"{stem}_mask.png"
    for path, pixels in zip(paths, scene, strict=True):
        cv2.imwrite(str(path), pixels)
    return SavedMap(stem, *paths)


def _reference(prediction: NDArray[np.uint8], mask: NDArray[np.uint8]) -> object:
    """PySODMetrics as its own examples call it."""
    try:
        import py_sod_metrics as reference
    except ModuleNotFoundError as error:
        raise ValueError("this compares with PySODMetrics, which is not installed: pip install pysodmetrics") from error
    both = {"with_dynamic": True, "with_adaptive": False, "with_binary": True}
    handlers = {
        "f": reference.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3),
        "dice": reference.DICEHandler(**both),
        "iou": reference.IOUHandler(**both),
    }
    plain = (reference.MAE(), reference.WeightedFmeasure(), reference.Smeasure(), reference.Emeasure())
    metrics = (*plain, reference.FmeasureV2(handlers))
    for metric in metrics:
        metric.step(prediction, mask)
    return [metric.get_results() for metric in metrics]
