"""Table ready to be written as Markdown, CSV and LaTeX."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ipsam.engine.metrics.tables import markdown
from ipsam.utils.console import visible
from ipsam.utils.files import as_csv, write_files

SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"[": "{[}", "]": "{]}", "*": "{*}", '"': "''", "`": "'"}  # the preceding \\ would take [ and * as arguments
    | {character: f"${character}$" for character in "<>|"}
    | {"±": r"$\pm$", "−": "$-$", "×": r"$\times$", "∗": "$^{*}$", "⁺": "$^{+}$", "⁻": "$^{-}$"}  # noqa: RUF001
    | {chr(raised): f"$^{{{chr(digit)}}}$" for digit, raised in SUPERSCRIPTS.items()}
)

Record = dict[str, str | int | float | None]


@dataclass
class Sheet:
    """Rows of text with footnotes, and the same numbers as records."""

    name: str  # of its files
    title: str
    columns: Sequence[tuple[str, str]]  # group (empty for none) and head
    fields: Sequence[str]  # keys of the records
    notes: Sequence[str] = ()
    lines: list[list[str] | str] = field(default_factory=list)  # a string is a section's heading
    records: list[Record] = field(default_factory=list)
    footnotes: list[str] = field(default_factory=list)

    def mark(self, footnote: str | None) -> str:
        """Return the footnote's number as superscript: one number for each text, no mark for None."""
        if footnote is None:
            return ""
        if footnote not in self.footnotes:
            self.footnotes.append(footnote)
        return str(self.footnotes.index(footnote) + 1).translate(SUPERSCRIPTS)

    @property
    def all_notes(self) -> list[str]:
        """Notes, then numbered footnotes."""
        numbered = (f"{str(n).translate(SUPERSCRIPTS)} {note}" for n, note in enumerate(self.footnotes, start=1))
        return [*self.notes, *numbered]


def to_markdown(sheet: Sheet) -> str:
    """Format heading, table and notes."""
    header = [f"{group} {head}".strip() for group, head in sheet.columns]
    rows = [[f"**{line}**", *[""] * (len(header) - 1)] if isinstance(line, str) else line for line in sheet.lines]
    table = markdown(header, [[_plain(cell).replace("|", r"\|") for cell in row] for row in rows])
    notes = "\n".join(f"- {_plain(note)}" for note in sheet.all_notes)
    return f"## {sheet.title}\n\n{table}\n\n{notes}\n"


def to_latex(sheet: Sheet) -> str:
    """Format a ``tabular`` that needs no other file."""
    width = len(sheet.columns)
    lines = [
        f"% {_plain(sheet.title)}. Needs \\usepackage{{booktabs}} in the preamble.",
        "% Names with letters other than Latin ones need xelatex or lualatex, and a font that has them.",
        rf"\begin{{tabular}}{{ll{'r' * (width - 2)}}}",
        r"\toprule",
    ]
    if any(group for group, _ in sheet.columns):
        heads, rules, start = [], [], 1
        for group, columns in groupby(group for group, _ in sheet.columns):
            span = len(list(columns))
            heads += [rf"\multicolumn{{{span}}}{{c}}{{{_latex(group)}}}"] if group else [""] * span
            rules += [rf"\cmidrule(lr){{{start}-{start + span - 1}}}"] if group else []
            start += span
        lines += [" & ".join(heads).strip() + r" \\", " ".join(rules)]
    lines += [" & ".join(_latex(head) for _, head in sheet.columns) + r" \\", r"\midrule"]
    for line in sheet.lines:
        if isinstance(line, str):
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_latex(line)}}}}} \\")
        else:
            lines.append(" & ".join(map(_latex, line)).strip() + r" \\")
    notes = [rf"{{@{{}}p{{\linewidth}}@{{}}}}{{\footnotesize {_latex(note)}}} \\" for note in sheet.all_notes]
    lines += [r"\bottomrule", *(rf"\multicolumn{{{width}}}{note}" for note in notes)]
    return "\n".join([*lines, r"\end{tabular}", ""])


def write(sheet: Sheet, folder: Path) -> list[Path]:
    """Write ``<name>.md``, ``.csv`` (one line for each number, in full precision) and ``.tex``; return the paths."""
    contents = (to_markdown(sheet).encode(), as_csv(sheet.records, sheet.fields), to_latex(sheet).encode())
    files = {f"{sheet.name}.{ending}": content for ending, content in zip(("md", "csv", "tex"), contents, strict=True)}
    write_files(folder, files)
    return [folder / name for name in files]


def _plain(text: str) -> str:
    """Join a text into one line of visible characters: names come from other people's files."""
    return visible(" ".join(text.split()))


def _latex(text: str) -> str:
    return re.sub(r"^-(?=\d)", "$-$", _plain(text).translate(LATEX))
