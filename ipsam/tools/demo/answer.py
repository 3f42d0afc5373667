"""Prediction of an uploaded file, independent of gradio."""

import html
import time
from pathlib import Path
from typing import Any

from ipsam.data.user_images import read_upload
from ipsam.engine.inference.base import BasePredictor
from ipsam.engine.inference.prediction import Prediction

MAX_PIXELS = 60_000_000  # takes a gigabyte of memory, and 15 seconds for the cutout
MAX_BYTES = 100 * 2**20


def answer(predictor: BasePredictor, upload: Path, **options: Any) -> tuple[Prediction, str]:
    """Predict an uploaded file with some options; return the prediction and a sentence about it in HTML.

    Raises:
        ValueError: the file is broken, too large or no image; the message holds its name without its folder.
    """
    try:
        image = read_upload(upload, max_pixels=MAX_PIXELS)
    except (ValueError, OSError) as error:
        raise ValueError(str(error).replace(str(upload), upload.name)) from error
    start = time.perf_counter()
    result = predictor.predict(image, **options)
    seconds = time.perf_counter() - start
    height, width = result.prob.shape
    found = f"The mask covers {result.mask.mean():.1%} of it." if result.mask.any() else "No object was found in it."
    about = f"{width} × {height} pixels, predicted in {seconds:.2f} s on {predictor.device_type.upper()}. {found}"  # noqa: RUF001
    return result, html.escape(f"{about} {result.remark}".strip())
