"""Columns of the paper's Fig. 4 (mechanism) and Fig. 3 (comparison), with their colours.

Images are RGB, (height, width, 3) uint8; maps are (height, width).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from ipsam.data.saved_maps.maps import read_map
from ipsam.tools.figures.view import View, shrunk

# Okabe and Ito's vermilion and sky blue: distinct for every type of colour vision, bright on a dark image.
FALSE_POSITIVE, FALSE_NEGATIVE = (213, 94, 0), (86, 180, 233)
GATE_COLOURS = "turbo"  # from dark blue to red, with distinct colours in the middle, where most gates lie
ENERGY_COLOURS = "inferno"
DIMMED = 0.45  # of the image's brightness, behind the errors

RGBImage = NDArray[np.uint8]
Map = NDArray[np.floating[Any]]
Key = Sequence[str | RGBImage]  # words and colours, side by side


@dataclass(frozen=True)
class Column:
    """A title, one image a row (None: no map), and a key to the colours."""

    title: str
    cells: Sequence[RGBImage | None]
    key: Key = ()


def mechanism(ours: Sequence[View], baseline: Sequence[View]) -> list[Column]:
    """Fill Fig. 4: image, truth, baseline, ours, error, P+, P-, gate decision, energy change.

    The paper's figure has no column for the truth. Columns of parts that the model lacks are left out. The gate's
    colours span 0 to 1. Those of the energy change span 0 to the maximum over all rows, so that rows are comparable.

    Args:
        ours: the rows as the model sees them.
        baseline: the same rows as the baseline sees them; empty for no such column.
    """
    image, *predictions = _predictions(ours, baseline)
    columns = [image, _truth(ours), *predictions]
    wrong = [errors(row.image, row.prob, row.truth) for row in ours]
    columns.append(Column("Error", wrong, (patch(FALSE_POSITIVE), "FP", patch(FALSE_NEGATIVE), "FN")))
    if prompts := [(row.fg, row.bg) for row in ours if row.fg is not None and row.bg is not None]:
        columns.append(Column("P⁺", [grey(fg) for fg, _ in prompts]))
        columns.append(Column("P⁻", [grey(bg) for _, bg in prompts]))
    # Fig. 4's colours: red where the gate keeps the prompt, dark blue where it suppresses it.
    if gates := [coloured(1 - row.gate, GATE_COLOURS) for row in ours if row.gate is not None]:
        columns.append(Column("Gate", gates, ("suppressed", ramp(GATE_COLOURS), "kept")))
    if changes := [row.energy for row in ours if row.energy is not None]:
        highest = max(float(change.max()) for change in changes)
        energies = [coloured(change / (highest or 1), ENERGY_COLOURS) for change in changes]
        columns.append(Column("Energy change", energies, ("0", ramp(ENERGY_COLOURS), f"{highest:.3g}")))
    return columns


def comparison(
    ours: Sequence[View], baseline: Sequence[View], methods: Mapping[str, Sequence[Path | None]]
) -> list[Column]:
    """Fill Fig. 3: image, truth, ours, baseline, and each method's saved maps (None: no map of that image).

    Raises:
        ValueError, FileNotFoundError: a map can't be read.
    """
    image, *predictions = _predictions(ours, baseline)
    others = [Column(name, [None if path is None else _saved(path) for path in maps]) for name, maps in methods.items()]
    return [image, _truth(ours), *reversed(predictions), *others]


def _predictions(ours: Sequence[View], baseline: Sequence[View]) -> list[Column]:
    columns = [Column("Image", [row.image for row in ours])]
    if baseline:
        columns.append(Column("Baseline", [grey(row.prob) for row in baseline]))
    return [*columns, Column("Ours", [grey(row.prob) for row in ours])]


def _truth(ours: Sequence[View]) -> Column:
    return Column("Truth", [grey(row.truth) for row in ours])


def _saved(path: Path) -> RGBImage:
    pixels = read_map(path)
    values = pixels.astype(np.float32) / np.float32(255 if pixels.dtype == np.uint8 else 1)
    return grey(shrunk(values))


def grey(values: Map) -> RGBImage:
    """Draw probabilities from black, 0, to white, 1."""
    return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=2)


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


def ramp(colours: str) -> RGBImage:
    """Draw a colour map from its low to its high end, for a key."""
    return coloured(np.linspace(0, 1, 256)[None], colours)


def coloured(values: Map, colours: str) -> RGBImage:
    """Draw values from 0 to 1 in a colour map of matplotlib."""
    return np.asarray(matplotlib.colormaps[colours](values, bytes=True)[..., :3], dtype=np.uint8)
