"""What the columns of the figures hold: the paper's Fig. 4, the mechanism, and Fig. 3, the comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ipsam.data.saved_maps.maps import read_map
from ipsam.tools.figures.pictures import (
    ENERGY_COLOURS,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    GATE_COLOURS,
    Picture,
    energy_change,
    errors,
    gate_decision,
    grey,
    patch,
    ramp,
    shrunk,
)
from ipsam.tools.figures.view import View

Key = Sequence[str | Picture]  # words and colours, side by side


@dataclass(frozen=True)
class Column:
    """A title, a picture for each image, None for one that there is none of, and what the colours mean."""

    title: str
    cells: Sequence[Picture | None]
    key: Key = ()


def mechanism(ours: Sequence[View], baseline: Sequence[View]) -> list[Column]:
    """Fig. 4: image, baseline, ours, error, P+, P-, gate decision, energy change.

    A column that the model has no part for is left out. The gate's colours go from 0 to 1; those of the energy change
    from 0 to the highest of all the images, so that rows can be compared.

    Args:
        ours: the images as the model sees them.
        baseline: the same images as the baseline sees them; none leave its column out.
    """
    columns = _predictions(ours, baseline)
    wrong = [errors(one.image, one.prob, one.truth) for one in ours]
    columns.append(Column("Error", wrong, (patch(FALSE_POSITIVE), "FP", patch(FALSE_NEGATIVE), "FN")))
    if prompts := [(one.fg, one.bg) for one in ours if one.fg is not None and one.bg is not None]:
        columns.append(Column("P⁺", [grey(fg) for fg, _ in prompts]))
        columns.append(Column("P⁻", [grey(bg) for _, bg in prompts]))
    if gates := [one.gate for one in ours if one.gate is not None]:
        decisions = [gate_decision(gate) for gate in gates]
        columns.append(Column("Gate", decisions, ("suppressed", ramp(GATE_COLOURS), "kept")))
    if changes := [one.energy for one in ours if one.energy is not None]:
        highest = max(float(change.max()) for change in changes)
        pictures = [energy_change(change, highest) for change in changes]
        columns.append(Column("Energy change", pictures, ("0", ramp(ENERGY_COLOURS), f"{highest:.3g}")))
    return columns


def comparison(
    ours: Sequence[View], baseline: Sequence[View], methods: Mapping[str, Sequence[Path | None]]
) -> list[Column]:
    """Fig. 3: image, truth, ours, baseline and each method's saved map of each image, None for one that it has not.

    Raises:
        ValueError, FileNotFoundError: a map can't be read.
    """
    image, *predictions = _predictions(ours, baseline)
    truth = Column("Truth", [grey(one.truth) for one in ours])
    ours_first = sorted(predictions, key=lambda column: column.title != "Ours")
    others = [Column(name, [None if path is None else _saved(path) for path in maps]) for name, maps in methods.items()]
    return [image, truth, *ours_first, *others]


def _predictions(ours: Sequence[View], baseline: Sequence[View]) -> list[Column]:
    columns = [Column("Image", [one.image for one in ours])]
    if baseline:
        columns.append(Column("Baseline", [grey(one.prob) for one in baseline]))
    return [*columns, Column("Ours", [grey(one.prob) for one in ours])]


def _saved(path: Path) -> Picture:
    """A saved map as it is; a page brings it to the image's size."""
    pixels = read_map(path)
    values = pixels.astype(np.float32) / np.float32(255 if pixels.dtype == np.uint8 else 1)
    return grey(shrunk(values))
