"""Comparison of a layout's rows: what sets scores apart, and the best and second best of the others."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ipsam.data.benchmarks import KNOWN
from ipsam.engine.metrics import ALL_METRICS
from ipsam.tools.tables.averages import Cell, Group
from ipsam.tools.tables.layout import Key, Layout, Row

DEFAULT = "the default protocol"
Reasons = Mapping[str, Mapping[str, str]]  # by the row's label, then dataset


@dataclass(frozen=True)
class Line:
    """Row of a layout with its numbers by column.

    Attributes:
        printed: as printed, empty where not.
        cells: ours; None where missing.
    """

    row: Row
    group: Group | None
    printed: Mapping[Key, str]
    cells: Mapping[Key, Cell | None]

    @classmethod
    def of(cls, layout: Layout, row: Row, group: Group | None) -> "Line":
        """Look up a row's numbers."""
        printed = layout.printed(row)
        return cls(row, group, printed, {key: group.cell(*key, layout.digits) if group else None for key in printed})

    def value(self, key: Key) -> float | None:
        """Return our number, or else the printed one."""
        if cell := self.cells[key]:
            return cell.mean
        return float(self.printed[key]) if self.printed[key] else None

    def num_images(self, dataset: str) -> int | None:
        """Return how many images were scored; printed rows without a number take the published one, if it is one."""
        if self.group and dataset in self.group.datasets:
            return self.group.num_images(dataset)
        published = KNOWN[dataset].num_pairs.get("test", ()) if dataset in KNOWN else ()
        return self.row.images.get(dataset, published[0] if len(published) == 1 else None)

    def protocol(self, dataset: str) -> tuple[str, ...] | None:
        """Return the name and the options of the protocol of our scores; that of printed ones is unknown."""
        if self.group is None or dataset not in self.group.datasets:
            return None
        options = (self.group.lead.settings or {}).get("protocol", {})
        return self.group.lead.protocol or DEFAULT, *(f"{key}={value}" for key, value in options.items())

    def input_size(self, _: str) -> int | None:
        """Return the side of the images that our runs took, in px."""
        settings = (self.group.lead.settings if self.group else None) or {}
        size: int | None = settings.get("data", {}).get("image_size")
        return size


Fact = Callable[[Line, str], object]
FACTS: tuple[tuple[Fact, str], ...] = (
    (Line.num_images, "{dataset}: {own} images, in other rows {usual}."),
    (Line.protocol, "{dataset}: scored by {own}, other rows by {usual}."),
)
INPUT = "Input of {own} px, in other rows {usual} px."


def incomparable(layout: Layout, lines: Sequence[Line]) -> Reasons:
    """Say which rows differ from most on a dataset; what only the input's size sets apart stands under ``""``.

    The paper's tables have notes of their own on that.
    """
    found: dict[str, dict[str, str]] = {line.row.label: {} for line in lines}
    if layout.against_print:
        return found
    for dataset in layout.datasets:
        scored = [line for line in lines if any(line.value((dataset, metric)) is not None for metric in layout.metrics)]
        for fact, text in FACTS:
            for label, reason in _unusual(scored, fact, dataset, text).items():
                found[label][dataset] = " ".join(filter(None, [found[label].get(dataset), reason]))
        for line in scored:
            if line.row.apart is not None:
                found[line.row.label][dataset] = line.row.apart
    for label, reason in _unusual(lines, Line.input_size, "", INPUT).items():
        found[label][""] = reason
    return found


def _unusual(lines: Sequence[Line], fact: Fact, dataset: str, text: str) -> Mapping[str, str]:
    known = {line.row.label: value for line in lines if (value := fact(line, dataset)) is not None}
    if not known:
        return {}
    usual = Counter(known.values()).most_common(1)[0][0]  # of equally many, the first row's
    return {
        label: text.format(dataset=dataset, own=_shown(own, usual), usual=_shown(usual, own))
        for label, own in known.items()
        if own != usual
    }


def _shown(fact: Any, other: Any) -> object:
    """Show a fact; of a protocol its name and the options that another one has not."""
    if not isinstance(fact, tuple):
        return fact
    name, *options = fact
    return f"{name} ({', '.join(own)})" if (own := [one for one in options if one not in other]) else name


def ranks(layout: Layout, lines: Sequence[Line], apart: Reasons) -> dict[str, dict[Key, int]]:
    """Give the best scores of each column the rank 1 and the second best 2, by row; equal rounded scores share one."""
    found: dict[str, dict[Key, int]] = {line.row.label: {} for line in lines}
    for key in layout.columns:
        values = {line.row.label: line.value(key) for line in lines if key[0] not in apart[line.row.label]}
        rounded = {label: round(value, layout.digits) for label, value in values.items() if value is not None}
        best = sorted({*rounded.values()}, reverse=ALL_METRICS[key[1]].higher_is_better)[:2]
        for label, value in rounded.items() if len(rounded) > 1 else ():
            if value in best:
                found[label][key] = best.index(value) + 1
    return found
