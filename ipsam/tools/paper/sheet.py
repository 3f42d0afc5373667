"""A table ready to be written: cells as text, and the same numbers as records."""

from collections.abc import Sequence
from dataclasses import dataclass, field

AVERAGE = "Ours: mean ± sample standard deviation over the seeds found; of one seed, its score."
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

Record = dict[str, str | int | float | None]


@dataclass
class Sheet:
    """Rows of cells under a head of two levels, with footnotes."""

    name: str  # of its files
    title: str
    stub: Sequence[str]  # heads of the columns before the groups
    groups: Sequence[tuple[str, Sequence[str]]]  # a group's head and those of its columns
    fields: Sequence[str]  # of the records
    notes: Sequence[str] = ()
    lines: list[list[str] | str] = field(default_factory=list)  # a line that is text is the heading of a section
    records: list[Record] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)

    def mark(self, footnote: str | None) -> str:
        """The footnote's number, raised; the same text gets the same number, none gets no mark."""
        if footnote is None:
            return ""
        if footnote not in self.footnotes:
            self.footnotes.append(footnote)
        return str(self.footnotes.index(footnote) + 1).translate(SUPERSCRIPTS)
