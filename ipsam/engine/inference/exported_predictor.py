"""Prediction by an exported file, ONNX or OpenVINO, without torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.placement import Placement
from ipsam.engine.inference.base import BasePredictor
from ipsam.engine.inference.options import DEFAULTS, PredictionOptions
from ipsam.engine.inference.prediction import Prediction, Probabilities
from ipsam.engine.runs.exported_file import describe, device_of, logits_of, weights_of
from ipsam.utils.imagenet import MEAN, STD


class ExportedPredictor(BasePredictor):
    """A file that ``ipsam export`` wrote. It makes no prompts and no gate, and takes one size of images.

    Args:
        path: of the file.
        device, precision, compile: only to refuse what the runtime does not do.
        options: defaults of every prediction.

    Raises:
        FileNotFoundError, ImportError, OSError: there is no such file, its runtime is not installed, or it cannot
            be read.
        ValueError: the file is damaged, ``ipsam export`` did not write it, or an argument is impossible.
    """

    bf16 = False

    def __init__(
        self,
        path: Path,
        *,
        device: Any = None,
        precision: str = "auto",
        compile: bool = False,
        options: PredictionOptions = DEFAULTS,
    ) -> None:
        if not path.exists():
            raise FileNotFoundError(f"no model at {path}: give the path of a file that ipsam export wrote")
        about = describe(path)
        super().__init__(image_size=about["image_size"], letterbox=about["letterbox"], source=path, options=options)
        self.device_type = device_of(path)
        if device is not None and str(device).partition(":")[0] != self.device_type:
            raise ValueError(f"device={device!s:.99} can't be used here: {path} is computed on {self.device_type}")
        if compile or precision not in ("auto", "fp32"):
            raise ValueError(f"{path} is computed as it was exported: leave precision=auto and compile=false")
        self._check_size(options)

    def _check_size(self, options: PredictionOptions) -> None:
        for side in options.sides(self.image_size, 1):
            if side != self.image_size:
                raise ValueError(
                    f"{self.source} takes images of {self.image_size} px only, not of {side}: keep its size"
                )

    def made_of(self) -> tuple[Path, dict[str, Any]]:
        """Return the file with the weights, and no configuration."""
        assert self.source is not None
        return weights_of(self.source), {}

    def _begin(self, images: Sequence[NDArray[np.uint8]], options: PredictionOptions) -> Callable[[], list[Prediction]]:
        assert self.source is not None
        self._check_size(options)
        letterbox = self.letterbox if options.letterbox is None else options.letterbox
        placed = [Placement.of(image.shape, self.image_size, letterbox=letterbox) for image in images]
        batch = np.stack([normalised(one.pixels(image)) for one, image in zip(placed, images, strict=True)])
        logits = logits_of(self.source, batch)
        if options.tta != "none":
            mirrored = logits_of(self.source, np.ascontiguousarray(batch[..., ::-1]))
            logits = np.float32(0.5) * (logits + mirrored[..., ::-1])

        def predictions() -> list[Prediction]:
            if not np.isfinite(logits).all():
                raise self._not_finite()
            return [
                Prediction(image, to_map(one[0], where, image.shape[:2]), options=options)
                for image, one, where in zip(images, logits, placed, strict=True)
            ]

        return predictions


def normalised(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Turn RGB (H, W, 3) into network input (3, H, W), to the bit as ``normalise`` does."""
    values = image.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = (np.array(each, np.float32)[:, None, None] for each in (MEAN, STD))
    return np.asarray((values - mean) / std)


def to_map(logits: NDArray[np.float32], placed: Placement, size: tuple[int, int]) -> Probabilities:
    """Turn logits (hm, wm) into probabilities (height, width) = ``size``, as ``forward.to_map`` up to rounding."""
    if not placed.is_whole:
        logits = cv2.resize(logits, (placed.side, placed.side), interpolation=cv2.INTER_LINEAR)[placed.part]
    grid = cv2.resize(logits, size[::-1], interpolation=cv2.INTER_LINEAR)
    with np.errstate(over="ignore"):  # the exponential becomes infinite, and the probability zero
        return np.asarray(1 / (1 + np.exp(-grid)))
