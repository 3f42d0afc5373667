"""Registry of the metrics. Adding one takes an entry in ``_ENTRIES`` or ``_FURTHER``; README.md shows how."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipsam.engine.metrics.alignment import e_measure
from ipsam.engine.metrics.objects import Objects
from ipsam.engine.metrics.overlap import boundary_iou, f_measure, overlaps
from ipsam.engine.metrics.reference import MODULE, by_pysodmetrics
from ipsam.engine.metrics.statistics import Counts, Pixels, Statistics, Values, Vector
from ipsam.engine.metrics.structure import s_measure
from ipsam.engine.metrics.truth import GroundTruth
from ipsam.engine.metrics.weighted_f import weighted_f

HIGHEST_E = 2.0  # of a perfect map of two pixels
CURVES = ("precision", "recall", "f", "em", "dice", "iou")


def curves_of(counts: Counts, truth: GroundTruth) -> NDArray[np.float64]:
    """Compute the curves (6, 256), in the order of ``CURVES``, from counts at 256 thresholds."""
    precision, recall, f, dice, iou = overlaps(counts, truth.num_foreground)
    return np.array([precision, recall, f, e_measure(counts, truth), dice, iou])


@dataclass(frozen=True)
class Inputs:
    """One prediction with its mask, as every metric receives them.

    Attributes:
        pixels: (h, w) prediction, in which ``low`` stands for 0 and ``high`` for 1.
        truth: the mask.
        statistics: counts and moments of the normalised prediction.
        all_curves: (6, 256), in the order of ``CURVES``, at the thresholds 255/255, 254/255, ..., 0.
        fw_beta2: beta squared of the weighted F-measure.
    """

    pixels: Pixels
    low: int
    high: int
    truth: GroundTruth
    statistics: Statistics
    all_curves: Vector
    fw_beta2: float

    @cached_property
    def curves(self) -> dict[str, Vector]:
        """Curves by name."""
        return dict(zip(CURVES, self.all_curves, strict=True))

    @cached_property
    def means(self) -> dict[str, float]:
        """Means of the curves by name."""
        return dict(zip(CURVES, self.all_curves.mean(1).tolist(), strict=True))

    @cached_property
    def values(self) -> Vector:
        """Normalised prediction (h, w) of 0 to 1, by PySODMetrics' own floating-point operations."""
        if self.pixels.dtype != np.uint8:
            return self.pixels
        levels = np.arange(256) / 255
        return np.asarray(((levels - levels[self.low]) / (levels[self.high] - levels[self.low]))[self.pixels])

    @cached_property
    def overlaps_50(self) -> tuple[Values, Values, Values, Values, Values]:
        """Precision, recall, F, Dice and IoU at threshold 0.5."""
        return overlaps(self.statistics.half, self.truth.num_foreground)

    @cached_property
    def objects(self) -> Objects:
        """Objects of the mask."""
        return Objects(self.values, self.truth.foreground)

    def by_pysodmetrics(self, make: Callable[[Any], Any]) -> Any:
        """Return PySODMetrics' results, see ``reference.by_pysodmetrics``."""
        return by_pysodmetrics(make, self.values, self.truth.foreground)


@dataclass(frozen=True)
class Metric:
    """A metric as code, tables and reports use it.

    Attributes:
        name: key in results and command lines.
        label: heading in tables.
        definition: variant and parameters, written into ``metrics.json``.
        score: computes the score of one image.
        higher_is_better: False for an error.
        peak_of: a curve. A dataset's score is the peak of its mean over the images. None: the mean of all scores.
        highest: score that cannot be exceeded; tables refuse files with higher ones.
        needs: module that computes it, of a package in the extra ``metrics``; empty: none.
    """

    name: str
    label: str
    definition: str
    score: Callable[[Inputs], float | np.floating | Vector]
    higher_is_better: bool = True
    peak_of: str | None = None
    highest: float = 1.0
    needs: str = ""

    @property
    def sign(self) -> int:
        """Factor that makes the larger score the better one."""
        return 1 if self.higher_is_better else -1

    def best(self, scores: Iterable[float]) -> float:
        """Return the best of some scores."""
        return max(scores) if self.higher_is_better else min(scores)


_ENTRIES = (
    Metric(
        "mae",
        "MAE",
        "mean absolute error",
        lambda x: (x.statistics.missing + x.statistics.excess) / x.truth.size,
        higher_is_better=False,
    ),
    Metric(
        "fw",
        "Fw",
        "weighted F-measure",
        lambda x: weighted_f(x.pixels, x.truth, x.statistics, low=x.low, high=x.high, beta2=x.fw_beta2),
    ),
    Metric("sm", "Sm", "S-measure, alpha = 0.5", lambda x: s_measure(x.statistics, x.truth)),
    Metric("em", "Em", "E-measure, mean over 256 thresholds", lambda x: x.means["em"], highest=HIGHEST_E),
    Metric(
        "em_adp",
        "Em adp",
        "E-measure at the adaptive threshold, twice the prediction's mean",
        lambda x: e_measure(x.statistics.adaptive, x.truth),
        highest=HIGHEST_E,
    ),
    Metric(
        "em_max",
        "Em max",
        "E-measure, peak of the mean curve",
        lambda x: x.curves["em"].max(),
        peak_of="em",
        highest=HIGHEST_E,
    ),
    Metric("f", "F", "F-measure, beta^2 = 0.3, mean over 256 thresholds", lambda x: x.means["f"]),
    Metric(
        "f_adp",
        "F adp",
        "F-measure, beta^2 = 0.3, at the adaptive threshold",
        lambda x: f_measure(x.statistics.adaptive, x.truth.num_foreground),
    ),
    Metric(
        "f_max", "F max", "F-measure, beta^2 = 0.3, peak of the mean curve", lambda x: x.curves["f"].max(), peak_of="f"
    ),
    Metric("mdice", "mDice", "Dice, mean over 256 thresholds", lambda x: x.means["dice"]),
    Metric("miou", "mIoU", "IoU, mean over 256 thresholds", lambda x: x.means["iou"]),
    Metric("dice_50", "Dice .5", "Dice at threshold 0.5", lambda x: x.overlaps_50[3]),
    Metric("iou_50", "IoU .5", "IoU at threshold 0.5", lambda x: x.overlaps_50[4]),
)
METRICS = {metric.name: metric for metric in _ENTRIES}

_FURTHER = (
    Metric(
        "biou_50",
        "BIoU .5",
        "boundary IoU at threshold 0.5, boundary of 2 % of the diagonal",
        lambda x: boundary_iou((x.values > 0.5).astype(np.uint8), x.truth.foreground),
    ),
    Metric(
        "object_recall",
        "Obj. recall",
        "recall of each object at threshold 0.5, mean over the objects of 50 pixels and more",
        lambda x: x.objects.recall(),
    ),
    Metric("si_mae", "SI-MAE", "size-invariant mean absolute error", lambda x: x.objects.mae(), higher_is_better=False),
    Metric("si_f", "SI-F", "size-invariant F-measure, beta^2 = 0.3, mean over 256 thresholds", lambda x: x.objects.f()),
    Metric(
        "si_f_adp",
        "SI-F adp",
        "size-invariant F-measure, beta^2 = 0.3, at the adaptive threshold of each object's box",
        lambda x: x.objects.f_adaptive(),
    ),
    Metric(
        "cm",
        "CM",
        "Context-measure, beta^2 = 1, alpha = 6",
        lambda x: x.by_pysodmetrics(lambda of: of.ContextMeasure())["cm"],
        needs=MODULE,
    ),
    Metric(
        "hce",
        "HCE",
        "human correction effort at threshold 0.5, relaxed by 5 pixels, epsilon = 2",
        lambda x: x.by_pysodmetrics(lambda of: of.HumanCorrectionEffortMeasure())["hce"],
        higher_is_better=False,
        highest=math.inf,
        needs=MODULE,
    ),
    Metric(
        "msiou",
        "MSIoU",
        "multi-scale IoU of edges, mean over 257 thresholds",
        lambda x: x.by_pysodmetrics(lambda of: of.MSIoU(True, False))["dynamic"].mean(),
        needs=MODULE,
    ),
    Metric(
        "msiou_adp",
        "MSIoU adp",
        "multi-scale IoU of edges at the adaptive threshold",
        lambda x: x.by_pysodmetrics(lambda of: of.MSIoU(False, True))["adaptive"],
        needs=MODULE,
    ),
    Metric(
        "msiou_50",
        "MSIoU .5",
        "multi-scale IoU of edges at threshold 0.5",
        lambda x: x.by_pysodmetrics(lambda of: of.MSIoU(False, False, with_binary=True))["binary"],
        needs=MODULE,
    ),
)
FURTHER = {metric.name: metric for metric in _FURTHER}  # scored where they are asked for
ALL_METRICS = METRICS | FURTHER
HEADLINE = ("mae", "fw", "sm", "em", "mdice", "miou")  # metrics that papers print, for short tables
