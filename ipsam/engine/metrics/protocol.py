"""Rules of scoring a prediction: named options, printed with every result."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, PrivateAttr

from ipsam.data.images import FOREGROUND_ABOVE
from ipsam.engine.metrics.reference import check_installed
from ipsam.engine.metrics.registry import ALL_METRICS, FURTHER, METRICS, Metric
from ipsam.engine.metrics.statistics import Pixels
from ipsam.utils.options import Options, OptionsError


class Protocol(Options):
    """Choices that change a score. The defaults are those of PySODMetrics.

    Attributes:
        eight_bit: round predictions to 8 bits, as a saved PNG does; otherwise score them in floating point.
        min_max: stretch each prediction to [0, 1] before scoring.
        gt_threshold: mask values above it are foreground.
        size: side of the square to which predictions and masks are resized; None: the mask's own size.
        binarise: set predictions above 0.5 to 1 and all others to 0 first.
        fw_beta2: beta squared of the weighted F-measure.
    """

    eight_bit: bool = True
    min_max: bool = True
    gt_threshold: int = Field(default=FOREGROUND_ABOVE, ge=0, le=254)
    size: int | None = Field(default=None, ge=2)
    binarise: bool = False
    fw_beta2: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    _further: tuple[str, ...] = PrivateAttr(default=())  # metrics to score beside METRICS

    @classmethod
    def of(cls, spec: "str | Mapping[str, Any] | Protocol", metrics: Sequence[str] = ()) -> "Protocol":
        """Make a protocol from a preset's name, or from options that differ from the default.

        Args:
            spec: the name or the options.
            metrics: names of metrics to score beside ``METRICS``.

        Raises:
            ValueError: the preset, an option or a metric is unknown, an option has a wrong value, or a metric needs a
                package that is not installed.
        """
        if metrics:
            protocol = cls.of(spec).model_copy()
            protocol._further = _checked(metrics)
            return protocol
        if isinstance(spec, Protocol):
            return spec
        if isinstance(spec, str):
            if spec not in PRESETS:
                raise ValueError(f"unknown protocol {spec!r}: choose {', '.join(PRESETS)}, or give {_OPTIONS}")
            return PRESETS[spec]
        if not isinstance(spec, Mapping):
            raise ValueError(f"protocol is one of {', '.join(PRESETS)}, or {_OPTIONS}; not {spec!r}")
        try:
            return cls(**{str(key): value for key, value in spec.items()})
        except OptionsError as error:
            raise error.under("protocol") from None

    @property
    def name(self) -> str:
        """Name of the preset; otherwise the differences from the default, such as ``min_max=false+size=512``."""
        default = Protocol().model_dump()
        changed = (f"{name}={value}".lower() for name, value in self.model_dump().items() if value != default[name])
        return next((name for name, one in PRESETS.items() if one.model_dump() == self.model_dump()), "+".join(changed))

    @property
    def metrics(self) -> dict[str, Metric]:
        """Metrics to score, by name."""
        return METRICS | {name: FURTHER[name] for name in self._further}

    def describe(self) -> dict[str, Any]:
        """Describe the protocol for ``metrics.json``: name, options and the definition of each metric."""
        definitions = {name: metric.definition for name, metric in self.metrics.items()}
        return {"name": self.name, **self.model_dump(), **definitions}

    def __str__(self) -> str:
        """Summarise the protocol in one line."""
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
        """Return the height and width at which a prediction is compared with this mask."""
        return (self.size, self.size) if self.size is not None else (mask.shape[0], mask.shape[1])

    def prepare(self, prediction: Pixels, mask: NDArray[np.uint8]) -> tuple[Pixels, NDArray[np.uint8]]:
        """Convert a prediction and its mask, as ``measure`` takes them, to the comparison's size and number format.

        Returns:
            The prediction as uint8 if ``eight_bit``, else as float64; and the mask.

        Raises:
            ValueError: prediction or mask has a wrong type, range or shape.
        """
        _check(prediction, mask)
        width_height = self.shape(mask)[::-1]
        if self.size is not None:
            prediction = cv2.resize(prediction, width_height, interpolation=cv2.INTER_LINEAR)
            # By pixel centres, as SAM2-Adapter's code does through Pillow: OpenCV's nearest neighbour takes corners.
            mask = np.array(Image.fromarray(mask).resize(width_height, Image.Resampling.NEAREST))
        if self.binarise:
            above = prediction > (127 if prediction.dtype == np.uint8 else 0.5)
            prediction = above.astype(np.uint8) * np.uint8(255)
        if self.eight_bit:
            return to_eight_bit(prediction), mask
        return (prediction / 255 if prediction.dtype == np.uint8 else prediction.astype(np.float64)), mask


def _check(prediction: Pixels, mask: NDArray[np.uint8]) -> None:
    for name, pixels in (("prediction", prediction), ("mask", mask)):
        if pixels.ndim != 2 or not pixels.size:
            raise ValueError(f"a {name} must have two dimensions, both above 0, not the shape {pixels.shape}")
    if mask.dtype != np.uint8:
        raise ValueError(f"a mask must be uint8, not {mask.dtype}")
    if prediction.dtype == np.uint8:
        return
    if not np.issubdtype(prediction.dtype, np.floating):
        raise ValueError(f"a prediction must be uint8 or floating point, not {prediction.dtype}")
    lowest, highest = prediction.min(), prediction.max()
    if not (lowest >= 0 and highest <= 1):  # NaN fails, too
        raise ValueError(f"a floating-point prediction must lie in [0, 1], but it ranges from {lowest} to {highest}")


def _checked(metrics: Sequence[str]) -> tuple[str, ...]:
    """Check names of metrics, and return those that are not in ``METRICS``, in the registry's order."""
    is_list = isinstance(metrics, list | tuple) and all(isinstance(name, str) for name in metrics)
    unknown = [name for name in metrics if name not in ALL_METRICS] if is_list else metrics
    if unknown:
        raise ValueError(f"metrics must be a list of some of {', '.join(FURTHER)}, not {unknown!r:.99}")
    chosen = tuple(name for name in FURTHER if name in metrics)
    for name in chosen:
        if FURTHER[name].needs:
            check_installed(name, FURTHER[name].needs)
    return chosen


def to_eight_bit(prediction: Pixels) -> NDArray[np.uint8]:
    """Round a prediction of 0 to 1 to 0 to 255; 8-bit predictions stay as they are."""
    return prediction if prediction.dtype == np.uint8 else np.rint(prediction * 255).astype(np.uint8)


PRESETS = {
    "default": Protocol(),
    "float": Protocol(eight_bit=False),
    # SAM2-Adapter's code binarises at 0.5, then compares at the network's input size.
    "sam2_adapter": Protocol(size=1024, binarise=True, fw_beta2=0.3),
}
_OPTIONS = "options such as {min_max: false, size: 1024}"
