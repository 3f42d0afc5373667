"""Drawing of overlays, cutouts and gates: which colour, which opacity at the edge, which background."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.engine.inference.options import RGB

ROWS = 256  # drawn at a time: floats of a whole large image would take gigabytes
COLOURS: tuple[RGB, ...] = (  # of overlays, all bright and of distant hues
    *((255, 40, 80), (255, 140, 0), (255, 230, 0), (60, 230, 40)),
    *((0, 225, 235), (60, 90, 255), (180, 70, 255), (255, 60, 220)),
)
SAMPLED = 64  # pixels a side of the image whose colours are compared
LIGHTNESS = 0.5  # weight of a difference in lightness beside one in hue
NEAR = 10  # per cent of the pixels that may be nearer to the colour than its distance says
RADII = (90, 6)  # pixels of blur fusion's two steps
BLURRED, SIGMA = 512, 12  # pixels of the longer side at which a background is blurred, and the strength there
GATE_MAP = "Gate decision"  # title of the paper's Fig. 4, wherever it is drawn
SUPPRESSED, UNAFFECTED = "suppressed", "unaffected"  # ends of its scale, 0 and 1

Image = NDArray[np.uint8]


def contrasting_colour(image: Image) -> RGB:
    """Choose the colour that stands out most from an image (height, width, 3), by the distance in CIELAB."""
    small = cv2.resize(image, (SAMPLED, SAMPLED), interpolation=cv2.INTER_AREA)
    pixels, candidates = (_lab(colours.reshape(-1, 1, 3)) for colours in (small, np.array(COLOURS, np.uint8)))
    distances = np.linalg.norm(pixels - candidates.swapaxes(0, 1), axis=2)  # (pixels, colours)
    return COLOURS[int(np.percentile(distances, NEAR, axis=0).argmax())]


def _lab(colours: Image) -> NDArray[np.float32]:
    lab = cv2.cvtColor(colours.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(lab * np.array([LIGHTNESS, 1, 1], np.float32))


def shifted(prob: NDArray[np.float32], threshold: float) -> NDArray[np.float32]:
    """Shift probabilities along the logistic curve, so that ``threshold`` becomes 0.5; by 0.5 they stay as they are."""
    if threshold == 0.5:
        return prob
    odds = np.float32((1 - threshold) / threshold)
    return np.asarray(prob * odds / (prob * odds + (1 - prob)))


def soft_edge(mask: NDArray[np.bool_], feather: float) -> Image:
    """Return the opacity of a mask, 0 to 255, whose edge rises over ``feather`` pixels."""
    opacity = mask.astype(np.uint8) * np.uint8(255)
    return opacity if feather == 0 else np.asarray(cv2.GaussianBlur(opacity, (0, 0), feather / 4))


def object_box(mask: NDArray[np.bool_], margin: float) -> tuple[slice, slice]:
    """Return rows and columns of the object, with a margin as a share of its longer side; of all without an object."""
    spans = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    if not spans[0].size:
        return slice(None), slice(None)
    extra = round(margin * max(int(span[-1] - span[0]) + 1 for span in spans))
    rows, columns = (slice(max(0, int(span[0]) - extra), int(span[-1]) + 1 + extra) for span in spans)
    return rows, columns


def object_colours(image: Image, opacity: Image, edges: str) -> Image:
    """Return an image with the object's own colours where its opacity is partial, by a method of the options."""
    if edges == "plain":
        return image
    if edges == "pymatting":
        return _by_pymatting(image, opacity)
    colours: Image = image.copy()
    reach = sum(RADII) // 2 + 1  # the rows on which a pixel depends
    for rows in strips(len(image)):
        soft = (opacity[rows] > 0) & (opacity[rows] < 255)
        if not soft.any():
            continue
        above = min(rows.start, reach)
        part = slice(rows.start - above, rows.stop + reach)
        fused = _blur_fusion(image[part].astype(np.float32), opacity[part, :, None] / np.float32(255))
        colours[rows][soft] = np.rint(fused[above : above + len(soft)][soft])
    return colours


def _blur_fusion(image: NDArray[np.float32], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Estimate the foreground's colours (Forte, "Approximate fast foreground colour estimation", ICIP 2021)."""
    foreground = background = image
    for radius in RADII:
        share, size = cv2.blur(alpha, (radius, radius))[..., None], (radius, radius)
        foreground = cv2.blur(foreground * alpha, size) / (share + 1e-5)
        background = cv2.blur(background * (1 - alpha), size) / (1 - share + 1e-5)
        foreground = foreground + alpha * (image - alpha * foreground - (1 - alpha) * background)
        foreground = foreground.clip(0, 255)
    return foreground


def _by_pymatting(image: Image, opacity: Image) -> Image:
    try:
        from pymatting import estimate_foreground_ml
    except ImportError as error:
        raise ValueError(f"edges=pymatting needs that package ({error}): pip install -e '.[matting]'") from error
    colours = estimate_foreground_ml(image / np.float32(255), opacity / np.float32(255))
    return np.asarray(np.rint(colours.clip(0, 1) * 255), dtype=np.uint8)


def blurred_background(image: Image, opacity: Image) -> Image:
    """Blur an image without its object, whose colours would surround it as a haze."""
    height, width = image.shape[:2]
    scale = min(1, BLURRED / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small, alpha = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (image, opacity))
    weight = (1 - alpha / np.float32(255))[..., None] + np.float32(1e-4)  # so that every place gets some colour
    sums, weights = (cv2.GaussianBlur(one, (0, 0), SIGMA) for one in (small * weight, weight))
    blurred = np.rint(sums / weights[..., None]).astype(np.uint8)
    return np.asarray(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR))


def composite(image: Image, opacity: Image, background: Image) -> Image:
    """Lay an image with an opacity on a background, an image of its size or one colour."""
    picture, background = np.empty_like(image, order="C"), np.broadcast_to(background, image.shape)
    for rows in strips(len(image)):
        alpha = opacity[rows, :, None] / np.float32(255)
        picture[rows] = np.rint(image[rows] * alpha + background[rows] * (1 - alpha))
    return picture


def strips(height: int) -> Iterator[slice]:
    """Return slices of ``ROWS`` rows each."""
    return (slice(at, at + ROWS) for at in range(0, height, ROWS))


def gate_map(gate: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Draw PSG's gate (height, width) as RGB (height, width, 3).

    The colours show 1 - gate, the factor of the foreground prompt: from dark blue, 0, where the prompt is suppressed,
    to red, 1, where it is unaffected. Turbo has distinct colours in the middle, where most gates lie.
    """
    levels = np.rint((1 - gate) * 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[..., ::-1], dtype=np.uint8)
