"""The field's metrics, through PySODMetrics: one image in, its scores out; a dataset's scores at the end.

The protocol (``PROTOCOL``) goes with every number, so that nobody has to guess which E-measure a table holds.
"""

from typing import Any

import numpy as np
import py_sod_metrics as reference
from numpy.typing import NDArray

PROTOCOL = {
    "prediction": "8-bit, rounded, at the size of the ground truth",
    "ground_truth": "foreground where > 128",
    "normalisation": "min-max of each image's prediction by itself, before every metric",
    "mae": "mean absolute error",
    "fw": "weighted F-measure, beta^2 = 1",
    "sm": "S-measure, alpha = 0.5",
    "em": "E-measure: mean over 256 thresholds; em_adp at the adaptive threshold, em_max the largest of the mean curve",
    "f": "F-measure, beta^2 = 0.3: mean over 256 thresholds; f_adp adaptive, f_max the largest of the mean curve",
    "mdice": "Dice, mean over 256 thresholds; dice_50 at 0.5",
    "miou": "IoU, mean over 256 thresholds; iou_50 at 0.5",
}
METRICS = ("mae", "fw", "sm", "em", "em_adp", "em_max", "f", "f_adp", "f_max", "mdice", "miou", "dice_50", "iou_50")
LOWER_IS_BETTER = ("mae",)


class _Smeasure(reference.Smeasure):
    def ssim(self, pred: NDArray[np.float64], gt: NDArray[np.bool_]) -> float:
        """The reference gives NaN for a quadrant without pixels, though its weight is 0; the limit adds nothing."""
        return float(super().ssim(pred, gt)) if pred.size else 0.0


class Metrics:
    """Accumulates the scores of one dataset."""

    def __init__(self) -> None:
        options = {"with_dynamic": True, "with_adaptive": False, "with_binary": True}
        self._mae = reference.MAE()
        self._fw = reference.WeightedFmeasure(beta=1)
        self._sm = _Smeasure(alpha=0.5)
        self._em = reference.Emeasure()
        self._curves = reference.FmeasureV2(
            {
                "f": reference.FmeasureHandler(with_dynamic=True, with_adaptive=True, beta=0.3),
                "dice": reference.DICEHandler(**options),
                "iou": reference.IOUHandler(**options),
            }
        )

    def step(self, prediction: NDArray[np.uint8], mask: NDArray[np.uint8]) -> dict[str, float]:
        """Add one image and return its own scores.

        Args:
            prediction: map of 0 to 255, (height, width).
            mask: ground truth, foreground where > 128, of the same shape.
        """
        for metric in (self._mae, self._fw, self._sm, self._em, self._curves):
            metric.step(prediction, mask)
        handlers: dict[str, Any] = self._curves._metric_handlers
        em_curve, f_curve = self._em.changeable_ems[-1], handlers["f"].dynamic_results[-1]
        scores = {
            "mae": self._mae.maes[-1],
            "fw": self._fw.weighted_fms[-1],
            "sm": self._sm.sms[-1],
            "em": em_curve.mean(),
            "em_adp": self._em.adaptive_ems[-1],
            "em_max": em_curve.max(),
            "f": f_curve.mean(),
            "f_adp": handlers["f"].adaptive_results[-1],
            "f_max": f_curve.max(),
            "mdice": handlers["dice"].dynamic_results[-1].mean(),
            "miou": handlers["iou"].dynamic_results[-1].mean(),
            "dice_50": handlers["dice"].binary_results[-1],
            "iou_50": handlers["iou"].binary_results[-1],
        }
        return {name: float(score) for name, score in scores.items()}

    def results(self) -> dict[str, float]:
        """Scores over all images so far; the maxima are those of the mean curves, not the means of maxima."""
        em, curves = self._em.get_results()["em"], self._curves.get_results()
        scores = {
            "mae": self._mae.get_results()["mae"],
            "fw": self._fw.get_results()["wfm"],
            "sm": self._sm.get_results()["sm"],
            "em": em["curve"].mean(),
            "em_adp": em["adp"],
            "em_max": em["curve"].max(),
            "f": curves["f"]["dynamic"].mean(),
            "f_adp": curves["f"]["adaptive"],
            "f_max": curves["f"]["dynamic"].max(),
            "mdice": curves["dice"]["dynamic"].mean(),
            "miou": curves["iou"]["dynamic"].mean(),
            "dice_50": curves["dice"]["binary"],
            "iou_50": curves["iou"]["binary"],
        }
        return {name: float(score) for name, score in scores.items()}
