"""LaTeX of a table that fits its page, by a smaller font, wrapped texts, landscape, or division into parts.

Widths are estimated from those of Computer Modern, and never too small: a character unknown here counts as a wide one.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from ipsam.tools.tables.sheet import SUPERSCRIPTS, Sheet, plain

BREAK = "\u200b"  # stands for a place where a long word may be broken
LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"[": "{[}", "]": "{]}", "*": "{*}", '"': "''", "`": "'"}  # the preceding \\ would take [ and * as arguments
    | {character: f"${character}$" for character in "<>|"}
    | {"±": r"$\pm$", "−": "$-$", "×": r"$\times$", "∗": "$^{*}$", "⁺": "$^{+}$", "⁻": "$^{-}$"}  # noqa: RUF001
    | {chr(raised): f"$^{{{chr(digit)}}}$" for digit, raised in SUPERSCRIPTS.items()}
    | {BREAK: r"\allowbreak{}"}
)
EMPHASIS = {1: r"\textbf{{{}}}", 2: r"\underline{{{}}}"}  # of the best and the second best number
# Upper bounds of the widths in pt of characters at 10 pt; all others have WIDEST.
WIDTHS = {
    **dict.fromkeys("ijl,.:;!'|⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹\u2217", 4.5),
    **dict.fromkeys(" -()[]frst", 4.0),
    **dict.fromkeys("0123456789aceghnopqubdkvxyz/*", 5.6),
    BREAK: 0.0,
}
DIGIT, WIDEST = 5.0, 10.5
BOLD = 1.15  # relative to the upright font
SIZES = (("normalsize", 1.0, 12.0), ("small", 0.93, 11.0), ("footnotesize", 0.86, 9.5), ("scriptsize", 0.8, 8.0))
SEPARATION = 2.5  # \tabcolsep in pt
LIMITS = (math.inf, 0.27, 0.18)  # shares of the page's width at which a column of text is wrapped
RESERVED = 60.0  # pt of a page's height for heads and rules


@dataclass(frozen=True)
class Fit:
    """Arrangement of a table on its page: font, width of each column in pt at that font, and columns of each part."""

    size: str
    baseline: float
    landscape: bool
    widths: Sequence[float]
    wrapped: Sequence[bool]
    parts: Sequence[Sequence[int]]


def to_latex(sheet: Sheet) -> str:
    """Format a table that needs no other file."""
    fit = fit_page(sheet)
    is_long = any(_height(sheet, fit, part) > _room(sheet, fit) for part in fit.parts)
    used = {"array": any(fit.wrapped), "booktabs": True, "longtable": is_long, "pdflscape": fit.landscape}
    needs = f"\\usepackage{{{','.join(name for name, is_used in used.items() if is_used)}}}"
    lines = [
        f"% {plain(sheet.title)}. Needs {needs} in the preamble.",
        f"% Fits a text of {sheet.page[0]:g} x {sheet.page[1]:g} pt. Names with letters other than Latin ones need",
        "% xelatex or lualatex, and a font that has them.",
        *([r"\begin{landscape}"] if fit.landscape else []),
        rf"\begingroup\{fit.size}\setlength{{\tabcolsep}}{{{SEPARATION}pt}}\noindent",
    ]
    for number, part in enumerate(fit.parts):
        lines += [r"\par\bigskip\noindent"] if number and not is_long else []
        lines += _tabular(sheet, fit, part, "longtable" if is_long else "tabular")
    lines += [r"\par\raggedright\footnotesize"]
    lines += [rf"\noindent {_latex(note)}\par" for note in sheet.all_notes]
    return "\n".join([*lines, r"\endgroup", *([r"\end{landscape}"] if fit.landscape else []), ""])


def fit_page(sheet: Sheet) -> Fit:
    """Choose the largest font, upright if possible, at which the table takes the fewest pages and parts."""
    pairs = list(zip(_widths(sheet), _widths(sheet, words=True), strict=True))
    fits: list[tuple[bool, int, int, Fit]] = []
    for landscape in (False, True):
        room = sheet.page[landscape]
        for size, scale, baseline in SIZES:
            for limit in (share * room for share in LIMITS):
                widths = [max(scale * word, min(scale * whole, limit)) for whole, word in pairs]
                wrapped = [one < scale * whole for one, (whole, _) in zip(widths, pairs, strict=True)]
                parts = _parts(sheet, widths, scale, room)
                fit = Fit(size, baseline, landscape, widths, wrapped, parts)
                is_too_wide = any(_total(part, sheet, widths, scale) > room for part in parts)
                fits.append((is_too_wide, _num_pages(sheet, fit), len(parts), fit))
    return min(fits, key=lambda entry: entry[:3])[3]


def _num_pages(sheet: Sheet, fit: Fit) -> int:
    heights = [_height(sheet, fit, part) for part in fit.parts]
    room = _room(sheet, fit)
    return math.ceil(sum(heights) / room) if max(heights) <= room else sum(math.ceil(one / room) for one in heights)


def _room(sheet: Sheet, fit: Fit) -> float:
    return sheet.page[not fit.landscape] - RESERVED


def _parts(sheet: Sheet, widths: Sequence[float], scale: float, room: float) -> list[list[int]]:
    """Divide the columns into parts that fit, each with the row's name and source in front, and groups undivided."""
    stub = [index for index, (group, _) in enumerate(sheet.columns) if not group][:2]
    rest = [index for index in range(len(widths)) if index not in stub]
    parts: list[list[int]] = [[]]
    for group, columns in groupby(rest, key=lambda index: sheet.columns[index][0]):
        block = list(columns)
        single = [[index] for index in block]
        for piece in [block] if group and _total([*stub, *block], sheet, widths, scale) <= room else single:
            if parts[-1] and _total([*stub, *parts[-1], *piece], sheet, widths, scale) > room:
                parts.append([])
            parts[-1] += piece
    return [[*stub, *part] for part in parts]


def _total(part: Iterable[int], sheet: Sheet, widths: Sequence[float], scale: float) -> float:
    """Add the widths of columns, and what their group's head needs more."""
    total = 0.0
    for group, columns in groupby(part, key=lambda index: sheet.columns[index][0]):
        own = [widths[index] + 2 * SEPARATION for index in columns]
        total += max(sum(own), scale * width(group) + 2 * SEPARATION)
    return total


def _widths(sheet: Sheet, *, words: bool = False) -> list[float]:
    """Estimate the width in pt at 10 pt of each column, or of its longest word."""
    widths = [max(map(width, _head(head))) for _, head in sheet.columns]
    for number, line in enumerate(sheet.lines):
        for column, cell in enumerate([] if isinstance(line, str) else line):
            bold = BOLD if sheet.ranks.get((number, column)) == 1 else 1.0
            texts = re.split(f"[ {BREAK}]", _breakable(_cell(cell))) if words else [_cell(cell)]
            widths[column] = max(widths[column], *(bold * width(text) for text in texts))
    return widths


@lru_cache(maxsize=1 << 14)  # each is needed for every font
def width(text: str) -> float:
    """Estimate a text's width; numbers exactly, as most columns are of them."""
    if re.fullmatch(r"[-+\d.±]*", text):
        return sum({".": 2.8, "-": 7.8, "+": 7.8, "±": 7.8}.get(character, DIGIT) for character in text)
    return sum(
        WIDTHS.get(character, 7.9 if character.isalpha() and character not in "MWmw" else WIDEST) for character in text
    )


def _height(sheet: Sheet, fit: Fit, part: Sequence[int]) -> float:
    rows = 0
    for line in sheet.lines:
        wrapped = [] if isinstance(line, str) else [i for i in part if fit.wrapped[i]]
        rows += max([1, *(math.ceil(1.3 * width(line[i]) / fit.widths[i]) for i in wrapped)])
    return rows * fit.baseline


def _tabular(sheet: Sheet, fit: Fit, part: Sequence[int], kind: str) -> list[str]:
    specs = [rf">{{\raggedright\arraybackslash}}p{{{fit.widths[i]:.1f}pt}}" if fit.wrapped[i] else "" for i in part]
    aligned = ["l" if number < 2 or one else "r" for number, one in enumerate(specs)]
    spec = "".join(one or side for one, side in zip(specs, aligned, strict=True))
    lines = [rf"\begin{{{kind}}}{{{spec}}}", r"\toprule"]
    groups = [sheet.columns[index][0] for index in part]
    if any(groups):
        heads, rules, start = [], [], 1
        for group, columns in groupby(groups):
            span = len(list(columns))
            heads += [rf"\multicolumn{{{span}}}{{c}}{{{_latex(group)}}}"] if group else [""] * span
            rules += [rf"\cmidrule(lr){{{start}-{start + span - 1}}}"] if group else []
            start += span
        lines += [" & ".join(heads).strip() + r" \\", " ".join(rules)]
    lines += [" & ".join(map(_stacked, (sheet.columns[i][1] for i in part), aligned)) + r" \\", r"\midrule"]
    lines += [r"\endhead"] if kind == "longtable" else []
    for number, line in enumerate(sheet.lines):
        if isinstance(line, str):
            total = sum(fit.widths[i] + 2 * SEPARATION for i in part) - 2 * SEPARATION
            side = "l" if width(plain(line)) < total else f"p{{{total:.1f}pt}}"
            lines.append(rf"\multicolumn{{{len(part)}}}{{{side}}}{{\textit{{{_latex(line)}}}}} \\")
            continue
        cells = (EMPHASIS.get(sheet.ranks.get((number, i), 0), "{}").format(_latex(_cell(line[i]))) for i in part)
        lines.append(" & ".join(cells).strip() + r" \\")
    return [*lines, r"\bottomrule", rf"\end{{{kind}}}"]


def _head(head: str) -> list[str]:
    """Divide a head into the two lines that it takes: ``T-Param (M)``."""
    first, _, last = head.rpartition(" ")
    return [first, last] if first else [last]


def _stacked(head: str, side: str) -> str:
    texts = [_latex(text) for text in _head(head)]
    return texts[0] if len(texts) == 1 else rf"\shortstack[{side}]{{{texts[0]}\\{texts[1]}}}"


def _cell(text: str) -> str:
    """Write a number and its deviation without spaces, which would make a wide table a third wider."""
    return re.sub(r"(?<=\d) ± (?=\d)", "±", plain(text))


def _latex(text: str) -> str:
    return re.sub(r"^-(?=\d)", "$-$", _breakable(text).translate(LATEX))


def _breakable(text: str) -> str:
    """Allow a break after each separator within a long word, such as a path."""
    return re.sub(r"\S{20,}", lambda word: re.sub(r"(?<=\w[/_.,=])(?=\w)", BREAK, word[0]), plain(text))
