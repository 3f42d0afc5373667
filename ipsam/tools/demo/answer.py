"""From an uploaded file to a prediction: what happens behind the page, apart from gradio."""

import html
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ipsam.data.images import image_size
from ipsam.data.user_images import to_rgb
from ipsam.engine.inference.prediction import Prediction
from ipsam.engine.inference.predictor import Predictor

MAX_PIXELS = 60_000_000  # a gigabyte of memory, and a quarter of a minute for the cutout
MAX_BYTES = 100 * 2**20


@dataclass(frozen=True)
class Answer:
    """A prediction, and a sentence about it in HTML."""

    result: Prediction
    about: str


def answer(predictor: Predictor, upload: Path) -> Answer:
    """Predict an uploaded file.

    Raises:
        ValueError: it is broken, no picture or too large; the file goes by its name alone.
    """
    try:
        image = _read(upload)
    except (ValueError, OSError) as error:
        raise ValueError(str(error).replace(str(upload), upload.name)) from error
    start = time.perf_counter()
    result = predictor.predict(image)
    seconds = time.perf_counter() - start
    height, width = result.prob.shape
    found = f"The mask covers {result.mask.mean():.1%} of it." if result.mask.any() else "No object was found in it."
    about = f"{width} × {height} pixels, predicted in {seconds:.2f} s on {predictor.device.type.upper()}. {found}"  # noqa: RUF001
    return Answer(result, html.escape(f"{about} {result.remark}".strip()))


def _read(path: Path) -> NDArray[np.uint8]:
    """The picture, if its header says that it is not too large to be unpacked."""
    height, width = image_size(path)
    if height * width > MAX_PIXELS:
        raise ValueError(
            f"{path}: {height * width / 1e6:.0f} megapixels are too many for this page, which takes "
            f"{MAX_PIXELS / 1e6:.0f}; make the picture smaller, or use scripts/predict.py"
        )
    return to_rgb(path)
