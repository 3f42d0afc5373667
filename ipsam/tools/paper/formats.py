"""A sheet as Markdown, CSV and LaTeX."""

import csv
import re
from pathlib import Path

from ipsam.engine.metrics.tables import markdown
from ipsam.tools.paper.sheet import SUPERSCRIPTS, Sheet

LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"[": "{[}", "]": "{]}", "*": "{*}", '"': "''", "`": "'"}  # after a line's end, [ and * would be its arguments
    | {character: f"${character}$" for character in "<>|"}
    | {"±": r"$\pm$", "−": "$-$", "×": r"$\times$", "∗": "$^{*}$", "⁺": "$^{+}$", "⁻": "$^{-}$"}  # noqa: RUF001
    | {chr(raised): f"$^{{{chr(digit)}}}$" for digit, raised in SUPERSCRIPTS.items()}
)


def to_markdown(sheet: Sheet) -> str:
    """Heading, table, notes."""
    header = [*sheet.stub, *(f"{group} {column}".strip() for group, columns in sheet.groups for column in columns)]
    rows = [[f"**{line}**", *[""] * (len(header) - 1)] if isinstance(line, str) else line for line in sheet.lines]
    table = markdown(header, [[_plain(cell).replace("|", r"\|") for cell in row] for row in rows])
    notes = "\n".join(f"- {_plain(note)}" for note in _all_notes(sheet))
    return f"## {sheet.title}\n\n{table}\n\n{notes}\n"


def to_latex(sheet: Sheet) -> str:
    """A ``tabular`` that stands by itself."""
    spans = [len(columns) for _, columns in sheet.groups]
    width = len(sheet.stub) + sum(spans)
    lines = [
        f"% {_plain(sheet.title)}. Needs \\usepackage{{booktabs}} in the preamble.",
        "% Names with letters other than Latin ones need xelatex or lualatex, and a font that has them.",
        rf"\begin{{tabular}}{{ll{'r' * (width - 2)}}}",
        r"\toprule",
    ]
    if any(group for group, _ in sheet.groups):
        heads = [rf"\multicolumn{{{len(columns)}}}{{c}}{{{_latex(group)}}}" for group, columns in sheet.groups]
        lines.append(" & ".join([*[""] * len(sheet.stub), *heads]).strip() + r" \\")
        starts = [len(sheet.stub) + 1 + sum(spans[:position]) for position in range(len(spans))]
        lines.append(" ".join(rf"\cmidrule(lr){{{a}-{a + n - 1}}}" for a, n in zip(starts, spans, strict=True)))
    heads = [*sheet.stub, *(column for _, columns in sheet.groups for column in columns)]
    lines += [" & ".join(map(_latex, heads)) + r" \\", r"\midrule"]
    for line in sheet.lines:
        if isinstance(line, str):
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\textit{{{_latex(line)}}}}} \\")
        else:
            lines.append(" & ".join(map(_latex, line)).strip() + r" \\")
    lines.append(r"\bottomrule")
    lines += [
        rf"\multicolumn{{{width}}}{{@{{}}p{{\linewidth}}@{{}}}}{{\footnotesize {_latex(note)}}} \\"
        for note in _all_notes(sheet)
    ]
    return "\n".join([*lines, r"\end{tabular}", ""])


def write(sheet: Sheet, folder: Path) -> list[Path]:
    """Write ``<name>.md``, ``.csv`` and ``.tex``; the CSV has a line for each number, in full precision."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{sheet.name}.{ending}" for ending in ("md", "csv", "tex")]
    paths[0].write_text(to_markdown(sheet), encoding="utf-8")
    with paths[1].open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.DictWriter(file, fieldnames=sheet.fields)
        writer.writeheader()
        writer.writerows(sheet.records)
    paths[2].write_text(to_latex(sheet), encoding="utf-8")
    return paths


def _all_notes(sheet: Sheet) -> list[str]:
    return [
        *sheet.notes,
        *(f"{str(number).translate(SUPERSCRIPTS)} {note}" for number, note in enumerate(sheet.footnotes, start=1)),
    ]


def _plain(text: str) -> str:
    """On one line, and of characters that can be written: names come from files that anybody may have written."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").split())


def _latex(text: str) -> str:
    return re.sub(r"^-(?=\d)", "$-$", _plain(text).translate(LATEX))
