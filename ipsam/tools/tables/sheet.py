"""Table ready to be written: rows of text with footnotes, and its Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ipsam.engine.metrics.tables import markdown
from ipsam.utils.console import visible

PAGE = (345.0, 550.0)  # \textwidth and \textheight of LaTeX's article, in pt
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
EMPHASIS = {1: "**{}**", 2: "*{}*"}  # of the best and the second best number in Markdown

Record = dict[str, str | int | float | None]


@dataclass
class Sheet:
    """Rows of text with footnotes, and the same numbers as records.

    Attributes:
        name: of its files.
        columns: group (empty for none) and head.
        fields: keys of the records.
        page: width and height in pt that LaTeX's table must fit.
        lines: a string is a section's heading.
        ranks: 1 for the best numbers and 2 for the second best, by line and column.
    """

    name: str
    title: str
    columns: Sequence[tuple[str, str]]
    fields: Sequence[str]
    notes: Sequence[str] = ()
    page: Sequence[float] = PAGE
    lines: list[list[str] | str] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)
    ranks: dict[tuple[int, int], int] = field(default_factory=dict)

    def mark(self, footnote: str | None) -> str:
        """Return the footnote's number as superscript: one number for each text, no mark for None or an empty one."""
        if not footnote:
            return ""
        if footnote not in self.footnotes:
            self.footnotes.append(footnote)
        return str(self.footnotes.index(footnote) + 1).translate(SUPERSCRIPTS)

    @property
    def all_notes(self) -> list[str]:
        """Notes, then numbered footnotes."""
        numbered = (f"{str(n).translate(SUPERSCRIPTS)} {note}" for n, note in enumerate(self.footnotes, start=1))
        return [*filter(None, self.notes), *numbered]


def to_markdown(sheet: Sheet) -> str:
    """Format heading, table and notes."""
    header = [f"{group} {head}".strip() for group, head in sheet.columns]
    rows = []
    for number, line in enumerate(sheet.lines):
        cells = [f"**{line}**", *[""] * (len(header) - 1)] if isinstance(line, str) else line
        texts = (plain(cell).replace("|", r"\|") for cell in cells)
        rows.append([EMPHASIS.get(sheet.ranks.get((number, i), 0), "{}").format(t) for i, t in enumerate(texts)])
    table = markdown(header, rows)
    notes = "\n".join(f"- {plain(note)}" for note in sheet.all_notes)
    return f"## {sheet.title}\n\n{table}\n\n{notes}\n"


def plain(text: str) -> str:
    """Join a text into one line of visible characters: names come from other people's files."""
    return visible(" ".join(text.split()))
