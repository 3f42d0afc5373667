"""Prediction as HTML with embedded images, so that no image becomes a file.

Gradio's gallery would write files, truncate the captions and lay them over the maps.
"""

import base64
import html
import io
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ipsam.engine.inference.drawing import GATE_MAP, SUPPRESSED, UNAFFECTED, gate_map
from ipsam.engine.inference.prediction import Prediction

MINUS = "\N{MINUS SIGN}"
LONGEST = 1200  # pixels of an image's longer side on the page; the cutout keeps the full size

RGBOrGrey = NDArray[np.uint8]


def preview(result: Prediction) -> Prediction:
    """Shrink a prediction to a longer side of at most ``LONGEST``."""
    height, width = result.prob.shape
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return result
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image, prob = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (result.image, result.prob))
    return replace(result, image=image, prob=prob)


def overlay(result: Prediction) -> str:
    """Lay the opaque overlay above the image; the page sets the upper one's opacity w.

    The mixture equals ``result.overlay(opacity=w)``, except that the outline fades too.
    """
    lower = embedded(result.image, "The picture.", photo=True)
    upper = embedded(np.asarray(result.overlay(opacity=1)), "The object found in it, in colour.", photo=True)
    return f'<div class="overlay">{lower}{upper}</div>'


def maps(result: Prediction) -> str:
    """Show every map of the prediction with a title and an explanation."""
    shown = [
        ("Probability", "that a pixel belongs to the object; white is 1", result.map),
        ("Mask", f"where the probability is {result.options.threshold:g} or more", _grey(result.mask)),
    ]
    if result.prompts is not None:
        shown.append(("Prompt P+", "what the model points out as foreground", _grey(result.prompts.fg)))
        shown.append((f"Prompt P{MINUS}", "what it points out as background", _grey(result.prompts.bg)))
    if result.gate is not None:
        about = f"red, 1: P+ is {UNAFFECTED}; dark blue, 0: {SUPPRESSED} by P{MINUS}"
        shown.append((GATE_MAP, about, gate_map(result.gate)))
    figures = (
        f"<figure>{embedded(pixels, f'{title}: {about}.')}"
        f"<figcaption><strong>{title}</strong> {html.escape(about)}</figcaption></figure>"
        for title, about, pixels in shown
    )
    return f'<div class="maps">{"".join(figures)}</div>'


def embedded(pixels: RGBOrGrey, alt: str, *, photo: bool = False) -> str:
    """Return an image element with a data URL: PNG, or JPEG for a photo, whose PNG would be ten times larger."""
    content, kind = io.BytesIO(), "jpeg" if photo else "png"
    options = {"quality": 92, "subsampling": 0} if photo else {}  # subsampling would blur the coloured outline
    Image.fromarray(pixels).save(content, kind, **options)
    return (
        f'<img src="data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}" alt="{html.escape(alt)}">'
    )


def _grey(values: NDArray[np.float32] | NDArray[np.bool_]) -> RGBOrGrey:
    grey: RGBOrGrey = np.rint(values * np.float32(255)).astype(np.uint8)
    return grey
