"""What the page shows of a prediction, as HTML that holds its pictures itself: no file is left behind by it."""

import base64
import html
import io
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ipsam.engine.inference.prediction import Prediction, Probabilities

MINUS = "\N{MINUS SIGN}"
LONGEST = 1200  # pixels of a side on the page; the cutout keeps the picture's own size


def preview(result: Prediction) -> Prediction:
    """The same at a size for the page, without a longer side than ``LONGEST``; a smaller one as it is."""
    height, width = result.prob.shape
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return result
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return replace(
        result,
        image=cv2.resize(result.image, size, interpolation=cv2.INTER_AREA),
        prob=cv2.resize(result.prob, size, interpolation=cv2.INTER_AREA),
    )


def overlay(result: Prediction) -> str:
    """The picture with the object in full colour above it: the strength is the upper one's opacity in the page.

    Mixing the two by w gives the very colours of ``result.overlay(opacity=w)``; only the outline fades with them.
    """
    lower = image(result.image, "The picture.", photo=True)
    upper = image(np.asarray(result.overlay(opacity=1)), "The object found in it, in colour.", photo=True)
    return f'<div class="overlay">{lower}{upper}</div>'


def maps(result: Prediction) -> str:
    """Every map that the model makes, each with its title and a line that explains it."""
    shown = [
        ("Probability", "that a pixel belongs to the object; white is 1", result.map),
        ("Mask", "where the probability is 0.5 or more", _grey(result.mask.astype(np.float32))),
    ]
    if result.prompts is not None:
        shown.append(("Prompt P+", "what the model points out as foreground", _grey(result.prompts.fg)))
        shown.append((f"Prompt P{MINUS}", "what it points out as background", _grey(result.prompts.bg)))
    if result.gate is not None:
        about = f"red: P+ is left as it is; dark blue: P{MINUS} suppresses it"
        shown.append((f"1 {MINUS} gate", about, _coloured(1 - result.gate)))
    figures = (
        f"<figure>{image(picture, f'{title}: {about}.')}"
        f"<figcaption><strong>{title}</strong> {html.escape(about)}</figcaption></figure>"
        for title, about, picture in shown
    )
    return f'<div class="maps">{"".join(figures)}</div>'


def image(picture: NDArray[np.uint8], alt: str, *, photo: bool = False) -> str:
    """An element that holds its picture: exact, unless it is a photo, whose exact file would be ten times larger."""
    content = io.BytesIO()
    if photo:
        Image.fromarray(picture).save(content, "jpeg", quality=92, subsampling=0)  # the outline is fine and in colour
    else:
        Image.fromarray(picture).save(content, "png")
    source = f"data:image/{'jpeg' if photo else 'png'};base64,{base64.b64encode(content.getvalue()).decode()}"
    return f'<img src="{source}" alt="{html.escape(alt)}">'


def _grey(values: Probabilities) -> NDArray[np.uint8]:
    grey: NDArray[np.uint8] = np.rint(values * np.float32(255)).astype(np.uint8)
    return grey


def _coloured(values: Probabilities) -> NDArray[np.uint8]:
    """In the colours of the paper's Fig. 4, (height, width, 3)."""
    return np.asarray(cv2.applyColorMap(_grey(values), cv2.COLORMAP_TURBO)[..., ::-1], dtype=np.uint8)
