"""The fused metrics against PySODMetrics."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics import Protocol, measure
from ipsam.tools.benchmark import Report
from ipsam.tools.benchmark.measure import one_thread, report, side_by_side
from ipsam.tools.benchmark.options import BenchmarkOptions

DEFAULTS: dict[str, dict[str, object]] = {}
SIZES = ((300, 400), (640, 960), (1080, 1920))  # height, width
SPECKLED = (640, 960)  # size of the masks of scattered pixels, the slowest to score
NUM_EXAMPLES = 6  # at each size
NOTES = """\
All metrics that both compute, one thread, medians of {repeats}. Smooth: a few ellipses; speckled: 4 % of the pixels,
scattered."""
Example = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # prediction, mask


def benchmark(options: BenchmarkOptions) -> Report:
    """Time both at each of ``SIZES``, and on speckled masks."""
    kinds = [("smooth", smooth_example, size) for size in SIZES] + [("speckled", speckled_example, SPECKLED)]
    with one_thread():
        rows = [
            _row(kind, [make(size, seed) for seed in range(NUM_EXAMPLES)], options.repeats)
            for kind, make, size in kinds
        ]
    notes = NOTES.format(repeats=options.repeats)
    return report([rows], notes, "ipsam", "numpy", "opencv", "pysodmetrics")


def smooth_example(size: tuple[int, int], seed: int) -> Example:
    """Draw a few ellipses and a prediction of them: good, displaced or noisy in turn."""
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


def speckled_example(size: tuple[int, int], seed: int) -> Example:
    """Draw objects of one pixel each and a prediction of them."""
    rng = np.random.default_rng(seed)
    mask = (rng.random(size) < 0.04).astype(np.uint8) * np.uint8(255)
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1) * 3 + rng.normal(0, 12, size)
    return soft.clip(0, 255).astype(np.uint8), mask


def _row(kind: str, examples: Sequence[Example], repeats: int) -> dict[str, Any]:
    protocol = Protocol()
    tasks: dict[str, Callable[[], object]] = {
        "ipsam": lambda: [measure(*example, protocol) for example in examples],
        "PySODMetrics": lambda: [reference_scores(*example) for example in examples],
    }
    taken = side_by_side(tasks, repeats=repeats)
    ours, theirs = (1000 * seconds / len(examples) for seconds in taken.values())
    row = {"8-bit map": "{} x {}".format(*examples[0][0].shape), "mask": kind}
    return row | {"ipsam, ms": ours, "PySODMetrics, ms": theirs, "times faster": theirs / ours}


def reference_scores(prediction: NDArray[np.uint8], mask: NDArray[np.uint8]) -> list[Any]:
    """Score by PySODMetrics, as its own examples do."""
    try:
        import py_sod_metrics as reference
    except ModuleNotFoundError as error:
        raise ValueError("this compares with PySODMetrics, which is missing: pip install -e '.[metrics]'") from error
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
