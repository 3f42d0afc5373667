"""Under which rules a prediction is scored: options with names, printed with every result."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.images import FOREGROUND_ABOVE


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


Pixels = NDArray[Any]  # uint8 of 0 to 255, or floating point of 0 to 1


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The choices that change a score; the defaults are the field's (PySODMetrics').

    Attributes:
        eight_bit: round predictions to 8 bits, as a saved PNG holds them; else score them in floating point.
        min_max: stretch each image's prediction to [0, 1] by itself, before every metric.
        gt_threshold: ground truth above this value is foreground.
        size: side of the square at which predictions and masks are compared; None: the ground truth's own size.
        binarise: predictions above 0.5 become 1, the others 0, before anything else.
        fw_beta2: beta squared of the weighted F-measure.
    """

    eight_bit: bool = True
    min_max: bool = True
    gt_threshold: int = FOREGROUND_ABOVE
    size: int | None = None
    binarise: bool = False
    fw_beta2: float = 1.0

    def __post_init__(self) -> None:
        for name in ("eight_bit", "min_max", "binarise"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"protocol.{name} must be true or false, not {getattr(self, name)!r}")
        if not _whole(self.gt_threshold) or not 0 <= self.gt_threshold < 255:
            raise ValueError(f"protocol.gt_threshold must be a whole number from 0 to 254, not {self.gt_threshold!r}")
        if self.size is not None and (not _whole(self.size) or self.size < 2):
            raise ValueError(f"protocol.size must be null or at least 2 pixels, not {self.size!r}")
        number = isinstance(self.fw_beta2, int | float) and not isinstance(self.fw_beta2, bool)
        if not number or not 0 < self.fw_beta2 < math.inf:
            raise ValueError(f"protocol.fw_beta2 must be a number above 0, not {self.fw_beta2!r}")

    @classmethod
    def of(cls, spec: "str | Mapping[str, Any] | Protocol") -> "Protocol":
        """A protocol by the name of a preset, or the default with some options changed.

        Raises:
            ValueError: there is no such preset or option, or an option does not take the value.
        """
        if isinstance(spec, Protocol):
            return spec
        if isinstance(spec, str):
            if spec not in PRESETS:
                raise ValueError(f"unknown protocol {spec!r}: choose {', '.join(PRESETS)}, or give {_OPTIONS}")
            return PRESETS[spec]
        if not isinstance(spec, Mapping):
            raise ValueError(f"protocol is one of {', '.join(PRESETS)}, or {_OPTIONS}; not {spec!r}")
        known = [entry.name for entry in fields(cls)]
        if unknown := [key for key in spec if key not in known]:
            raise ValueError(f"unknown option protocol.{unknown[0]}; there are {', '.join(known)}")
        return cls(**spec)

    @property
    def name(self) -> str:
        """The preset's; or, of a custom one, what differs from the default, such as ``min_max=false+size=512``."""
        default = asdict(Protocol())
        changed = (f"{name}={value}".lower() for name, value in asdict(self).items() if value != default[name])
        return next((name for name, preset in PRESETS.items() if preset == self), "+".join(changed))

    def describe(self) -> dict[str, Any]:
        """What goes with the numbers into ``metrics.json``: name, options, and which variant each metric is."""
        return {"name": self.name, **asdict(self), **DEFINITIONS}

    def __str__(self) -> str:
        """One line for people."""
        parts = [
            "8-bit" if self.eight_bit else "float",
            *(["binarised at 0.5"] if self.binarise else []),
            "at the ground truth's size" if self.size is None else f"at {self.size} x {self.size}",
            "min-max of each image" if self.min_max else "no min-max",
            f"ground truth > {self.gt_threshold}",
            f"Fw with beta^2 = {self.fw_beta2:g}",
        ]
        return f"protocol {self.name}: {', '.join(parts)}"

    def shape(self, mask: NDArray[np.uint8]) -> tuple[int, int]:
        """Height and width at which a prediction is compared with this mask."""
        return (self.size, self.size) if self.size is not None else (mask.shape[0], mask.shape[1])

    def prepare(self, prediction: Pixels, mask: NDArray[np.uint8]) -> tuple[Pixels, NDArray[np.uint8]]:
        """Bring a prediction and its mask to the size and number format in which they are compared.

        Args:
            prediction: (h, w); uint8 of 0 to 255, or floating point of 0 to 1.
            mask: (h, w) uint8.

        Returns:
            The prediction as uint8 if ``eight_bit``, else as float64; and the mask.

        Raises:
            ValueError: prediction or mask is no such array.
        """
        _check(prediction, mask)
        width_height = self.shape(mask)[::-1]
        if self.size is not None:
            prediction = cv2.resize(prediction, width_height, interpolation=cv2.INTER_LINEAR)
            mask = np.asarray(cv2.resize(mask, width_height, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
        if self.binarise:
            above = prediction > (127 if prediction.dtype == np.uint8 else 0.5)
            prediction = above.astype(np.uint8) * np.uint8(255)
        if self.eight_bit:
            return to_eight_bit(prediction), mask
        return (prediction / 255 if prediction.dtype == np.uint8 else prediction.astype(np.float64)), mask


def _check(prediction: Pixels, mask: NDArray[np.uint8]) -> None:
    for name, pixels in (("prediction", prediction), ("mask", mask)):
        if pixels.ndim != 2 or not pixels.size:
            raise ValueError(f"a {name} has height and width above 0, not the shape {pixels.shape}")
    if mask.dtype != np.uint8:
        raise ValueError(f"a mask is of 8 bits, not {mask.dtype}")
    if prediction.dtype == np.uint8:
        return
    if not np.issubdtype(prediction.dtype, np.floating):
        raise ValueError(f"a prediction is of 8 bits or floating point, not {prediction.dtype}")
    lowest, highest = prediction.min(), prediction.max()
    if not (lowest >= 0 and highest <= 1):  # nor NaN
        raise ValueError(f"a prediction in floating point lies in [0, 1], but this one goes from {lowest} to {highest}")


def to_eight_bit(prediction: Pixels) -> NDArray[np.uint8]:
    """A prediction of 0 to 1 rounded to 0 to 255; one in 8 bits as it is."""
    return prediction if prediction.dtype == np.uint8 else np.rint(prediction * 255).astype(np.uint8)


PRESETS = {
    "default": Protocol(),
    "float": Protocol(eight_bit=False),
    # SAM2-Adapter's code: compares at the network's input size what was cut at 0.5 before.
    "sam2_adapter": Protocol(size=1024, binarise=True, fw_beta2=0.3),
}
_OPTIONS = "options such as {min_max: false, size: 1024}"
DEFINITIONS = {
    "mae": "mean absolute error",
    "fw": "weighted F-measure",
    "sm": "S-measure, alpha = 0.5",
    "em": "E-measure: mean over 256 thresholds; em_adp at the adaptive threshold, em_max the largest of the mean curve",
    "f": "F-measure, beta^2 = 0.3: mean over 256 thresholds; f_adp adaptive, f_max the largest of the mean curve",
    "mdice": "Dice, mean over 256 thresholds; dice_50 at 0.5",
    "miou": "IoU, mean over 256 thresholds; iou_50 at 0.5",
}
