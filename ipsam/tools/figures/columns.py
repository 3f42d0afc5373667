"""Columns of the paper's Fig. 4 (mechanism) and Fig. 3 (comparison), with their colours.

Images are RGB, (height, width, 3) uint8; maps are (height, width).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np

from ipsam.data.saved_maps.maps import read_map
from ipsam.engine.evaluate.page import SCALE, Column, Map, RGBImage, gates, probabilities
from ipsam.tools.figures.view import View, shrunk

# Okabe and Ito's vermilion and sky blue: distinct for every type of colour vision, bright on a dark image.
FALSE_POSITIVE, FALSE_NEGATIVE = (213, 94, 0), (86, 180, 233)
ENERGY_COLOURS = "RdBu_r"  # from blue, a loss, through white, 0, to red, a gain
MINUS = "\N{MINUS SIGN}"
DIMMED = 0.45  # of the image's brightness, behind the errors


def mechanism(ours: Sequence[View], baseline: Sequence[View]) -> list[Column]:
    """Fill Fig. 4: image, truth, baseline, ours, error, P+, P-, gate decision, energy change.

    The paper's figure has no column for the truth. Columns of parts that the model lacks are left out. The colours of
    the energy change are symmetric around 0, up to the largest change of all rows, so that rows are comparable. The
    paper speaks of "negative activations" and of warmer colours for larger changes, without a formula: here the sign
    chooses the colour, and the size its depth.

    Args:
        ours: the rows as the model sees them.
        baseline: the same rows as the baseline sees them; empty for no such column.
    """
    image, *predictions = _predictions(ours, baseline)
    columns = [image, _truth(ours), *predictions]
    wrong = [errors(row.image, row.prob, row.truth) for row in ours]
    columns.append(Column("Error", wrong, (patch(FALSE_POSITIVE), "FP", patch(FALSE_NEGATIVE), "FN")))
    if prompts := [(row.fg, row.bg) for row in ours if row.fg is not None and row.bg is not None]:
        columns.append(probabilities("P⁺", [fg for fg, _ in prompts]))
        columns.append(probabilities("P⁻", [bg for _, bg in prompts]))
    if maps := [row.gate for row in ours if row.gate is not None]:
        columns.append(gates(maps))
    if changes := [row.energy for row in ours if row.energy is not None]:
        limit = max(float(np.abs(change).max()) for change in changes) or 1.0
        energies = [energy_map(change / limit) for change in changes]
        key = (f"{MINUS}{limit:.3g}", energy_map(2 * SCALE - 1), f"+{limit:.3g}")
        columns.append(Column("Energy change", energies, key))
    return columns


def comparison(
    ours: Sequence[View], baseline: Sequence[View], methods: Mapping[str, Sequence[Path | None]]
) -> list[Column]:
    """Fill Fig. 3: image, truth, ours, baseline, and each method's saved maps (None: no map of that image).

    Raises:
        ValueError, FileNotFoundError: a map can't be read.
    """
    image, *predictions = _predictions(ours, baseline)
    others = [
        probabilities(name, [None if path is None else _saved(path) for path in maps]) for name, maps in methods.items()
    ]
    return [image, _truth(ours), *reversed(predictions), *others]


def _predictions(ours: Sequence[View], baseline: Sequence[View]) -> list[Column]:
    columns = [Column("Image", [row.image for row in ours])]
    if baseline:
        columns.append(probabilities("Baseline", [row.prob for row in baseline]))
    return [*columns, probabilities("Ours", [row.prob for row in ours])]


def _truth(ours: Sequence[View]) -> Column:
    return probabilities("Truth", [row.truth for row in ours])


def _saved(path: Path) -> Map:
    pixels = read_map(path)
    return shrunk(pixels.astype(np.float32) / np.float32(255 if pixels.dtype == np.uint8 else 1))


def errors(image: RGBImage, prediction: Map, truth: Map) -> RGBImage:
    """Draw false positives and negatives over the dimmed grey image, each as opaque as the error is large."""
    excess = (prediction - truth)[..., None]
    colour = np.where(excess > 0, FALSE_POSITIVE, FALSE_NEGATIVE)
    behind = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] * DIMMED
    drawn: RGBImage = np.rint(behind * (1 - np.abs(excess)) + colour * np.abs(excess)).astype(np.uint8)
    return drawn


def patch(colour: tuple[int, int, int]) -> RGBImage:
    """Make a single pixel of a colour, for a key."""
    return np.array([[colour]], np.uint8)


def energy_map(values: Map) -> RGBImage:
    """Draw changes from -1, blue, to 1, red."""
    colours = matplotlib.colormaps[ENERGY_COLOURS]
    return np.asarray(colours((values + 1) / 2, bytes=True)[..., :3], dtype=np.uint8)
