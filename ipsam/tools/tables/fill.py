"""Tables of a layout filled with our scores; the paper's own, its text's numbers, and tables of all other runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ipsam.data.benchmarks import KNOWN
from ipsam.data.files import some
from ipsam.engine.metrics import ALL_METRICS
from ipsam.tools.tables.averages import AVERAGE, COUNT_DIGITS, Group, Rejected, choose, difference, numbers
from ipsam.tools.tables.changes import base_of
from ipsam.tools.tables.comparable import Line, Reasons, incomparable, ranks
from ipsam.tools.tables.layout import Key, Layout, Row
from ipsam.tools.tables.listing import blank_sheet, other_sheet
from ipsam.tools.tables.printed import Reference, method_key, paper
from ipsam.tools.tables.run_scores import RunScores
from ipsam.tools.tables.score_files import named_protocol
from ipsam.tools.tables.sheet import Record, Sheet
from ipsam.tools.tables.text_sheet import text_sheet

FIELDS = (
    *("table", "section", "row", "dataset", "metric", "printed"),
    *("ours_mean", "ours_std", "num_seeds", "num_images", "difference", "remark"),
)
COUNTS = {"param": "Param (M)", "t_param": "T-Param (M)"}
MAX_NAMES = 20  # of runs and methods in an error
MARKED = "Best in bold, second best underlined (in Markdown, italic), among the rows that can be compared."

Chosen = Mapping[str, tuple[Group, list[Rejected]]]  # by the row's label


def fill_paper(results: Sequence[RunScores]) -> tuple[list[Sheet], list[str]]:
    """Fill the paper's tables, and collect all other scores in two more: runs of ``experiment/blank``, and the rest.

    Returns:
        The tables, and a line for each result that another one kept out of a row. Such a result is among the other
        runs or in another row, unless it repeats a seed.
    """
    sheets: list[Sheet] = []
    kept_out: dict[str, list[str]] = {}  # rows by result and reason
    shown: set[tuple[str, str, str]] = set()  # place, name and dataset
    for number, layout in paper().items():
        chosen = _choose(layout, results)
        for label, (group, rejected) in chosen.items():
            for entry in rejected:
                kept_out.setdefault(str(entry), []).append(str(Reference(number, label)))
            settled = [*group.members, *(entry.result for entry in rejected if entry.repeats)]
            shown |= {(result.place, result.name, dataset) for result in settled for dataset in layout.datasets}
        sheets.append(_sheet(layout, chosen))
    rest = []
    for result in results:
        unseen = [dataset for dataset in result.scores if (result.place, result.name, dataset) not in shown]
        rest += [replace(result, scores={dataset: result.scores[dataset] for dataset in unseen})] if unseen else []
    blank, repeats = blank_sheet([result for result in rest if base_of(result.name)], results)
    other, more = other_sheet([result for result in rest if not base_of(result.name)])
    lines = [f"{line} ({'; '.join(rows)})" for line, rows in kept_out.items()]
    return [*sheets, text_sheet(results), blank, other], [*lines, *repeats, *more]


def fill_layout(layout: Layout, results: Sequence[RunScores]) -> tuple[Sheet, list[str]]:
    """Fill a table of one's own; return also a line for each result that another one kept out of a row.

    Raises:
        ValueError: a row's run or maps have no scores on the datasets, or no row has scores of a dataset or metric.
    """
    chosen = _choose(layout, results)
    for row in layout.rows:
        group, rejected = chosen.get(row.label, (Group(()), []))
        found = [*group.members, *(entry.result for entry in rejected)]
        if not (found or row.run or row.maps or row.scores or layout.methods):
            raise ValueError(
                f"{layout.file}: row {row.label!r}: no run found is of such a row of Table {layout.paper}; "
                "give it run, maps or scores, or leave it out"
            )
        kinds = {"maps" if one.seed is None else "run" for one in found}
        given = {"run": row.run, "maps": row.maps or (None if found or row.run or row.scores else row.label)}
        if missing := [f"{key}={value}" for key, value in given.items() if value and key not in kinds]:
            what = " nor ".join(missing) + (f" by protocol={row.protocol}" if row.protocol else "")
            names = sorted({_described(result) for result in results})
            raise ValueError(
                f"{layout.file}: row {row.label!r}: no scores of {what} on {', '.join(layout.datasets)}; correct it, "
                f"or set runs=FOLDER to where they are; found: {some(names, MAX_NAMES)}"
            )
    keys = {key for row in layout.rows for key, number in layout.printed(row).items() if number}
    members = [member for group, _ in chosen.values() for member in group.members]
    keys |= {(name, metric) for member in members for name, scores in member.scores.items() for metric in scores}
    keys |= {("", key) for group, _ in chosen.values() for key in COUNTS if getattr(group.lead, key) is not None}
    scored = [key for key in keys if key[1] in ALL_METRICS]
    for what, wanted, known in (
        ("datasets", layout.datasets, sorted({name for name, _ in scored})),
        ("metrics", layout.metrics, sorted({metric for _, metric in scored})),
        ("counts", layout.counts, sorted({count for name, count in keys if not name})),
    ):
        if absent := [name for name in wanted if name not in known]:
            raise ValueError(
                f"{layout.file}: {what}: no row has {absent[0]}; the rows have {', '.join(known) or 'none'}: "
                "give or score it, correct the name, or leave it out"
            )
    kept_out: dict[str, list[str]] = {}  # rows by result and reason
    for label, (_, rejected) in chosen.items():
        for entry in rejected:
            kept_out.setdefault(str(entry), []).append(f"row {label!r}")
    return _sheet(layout, chosen), [f"{line} ({', '.join(rows)})" for line, rows in kept_out.items()]


def _described(result: RunScores) -> str:
    found = [*result.scores, *([f"by {result.protocol}"] if result.protocol else [])]
    return f"{'maps' if result.seed is None else 'run'}={result.name} ({', '.join(found)})"


def _choose(layout: Layout, results: Sequence[RunScores]) -> Chosen:
    claims = {row.label: [result for result in results if _claims(result, layout, row)] for row in layout.rows}
    return {label: choose(found) for label, found in claims.items() if found}


def _claims(result: RunScores, layout: Layout, row: Row) -> bool:
    """Return whether a result fills a row, which names it or is named by it."""
    if not any(dataset in result.scores for dataset in layout.datasets):
        return False
    if row.protocol is not None and result.protocol != named_protocol(row.protocol):
        return False
    if result.seed is None:
        name = row.maps or (row.label if layout.methods else "")
        return bool(name) and method_key(result.name) == method_key(name)
    if row.run is not None:
        return row.run == result.name or Path(result.place).resolve().is_relative_to(Path(row.run).resolve())
    return layout.paper is not None and Reference(layout.paper, row.label) in result.rows


def _sheet(layout: Layout, chosen: Chosen) -> Sheet:
    """Put a row's printed numbers, ours and the differences below each other, as far as it has them."""
    groups = {label: group for label, (group, _) in chosen.items()}
    lines = {row.label: Line.of(layout, row, groups.get(row.label)) for row in layout.rows}
    sheet = Sheet(
        layout.name,
        layout.title,
        columns=[
            *(("", head) for head in (layout.stub, "source", *(COUNTS[key] for key in layout.counts))),
            *((dataset, ALL_METRICS[metric].label) for dataset, metric in layout.columns),
        ],
        fields=(*FIELDS, "rank") if layout.best else FIELDS,
        page=layout.page,
    )
    apart = incomparable(layout, list(lines.values()))
    placed = ranks(layout, list(lines.values()), apart) if layout.best else {}
    sheet.notes = [_note(layout, groups, marked=any(placed.values())), *layout.notes]
    base = lines[layout.difference] if layout.difference else None
    for section, rows in layout.sections:
        sheet.lines += [] if section is None else [section]
        for row in rows:
            place: Record = {"table": layout.paper or layout.name, "section": section, "row": row.label}
            pairs = _pairs(lines[row.label], base, apart)
            footnote = " ".join(dict.fromkeys(apart[row.label].values()))
            _add_row(sheet, layout, place, lines[row.label], pairs, footnote, placed.get(row.label, {}))
    return sheet


def _note(layout: Layout, groups: Mapping[str, Group], *, marked: bool) -> str:
    parts = [AVERAGE] if any(group.lead.seed is not None for group in groups.values()) else []
    if layout.difference:
        parts.append(f"Difference: to {layout.difference}.")
    elif any(row.scores and row.label in groups for row in layout.rows):
        parts.append(f"Difference: ours - {layout.origin}.")
    return " ".join([*parts, *([MARKED] if marked else [])])


def _pairs(line: Line, base: Line | None, apart: Reasons) -> dict[Key, tuple[float, float]]:
    """List the numbers to subtract by column: a row's and the base's, or without a base ours and the printed one."""
    if base is None:
        cells = {key: cell for key, cell in line.cells.items() if cell and line.printed[key]}
        return {key: (cell.mean, float(line.printed[key])) for key, cell in cells.items()}
    left_out = {*apart[line.row.label], *apart[base.row.label]} - {""}
    found = {key: (line.value(key), base.value(key)) for key in line.cells if key[0] not in left_out}
    return {key: (a, b) for key, (a, b) in found.items() if line is not base and a is not None and b is not None}


def _add_row(
    sheet: Sheet,
    layout: Layout,
    place: Record,
    line: Line,
    pairs: Mapping[Key, tuple[float, float]],
    apart: str,
    ranks: Mapping[Key, int],
) -> None:
    row, group = line.row, line.group
    shows_printed = bool(row.scores) or not group
    source = f"As printed: {row.source}." if row.source else ""
    if group:
        footnote = " ".join(filter(None, [_footnote(layout, group), apart]))
        ours = f"{group.source(layout.datasets)}{sheet.mark(footnote)}"
    else:
        source, footnote, ours = " ".join(filter(None, [source, apart])), "", "ours"
    label = f"{row.label}{sheet.mark(row.remark)}"
    for column, (key, cell) in enumerate(line.cells.items(), start=2):
        if key in ranks:
            sheet.ranks[len(sheet.lines) + (shows_printed and cell is not None), column] = ranks[key]
    if shows_printed:
        sheet.lines.append([label, f"{layout.origin}{sheet.mark(source)}", *line.printed.values()])
    if group or layout.against_print:
        others = {} if shows_printed else line.printed
        texts = (others.get(key, "") if cell is None else str(cell) for key, cell in line.cells.items())
        sheet.lines.append(["" if shows_printed else label, ours, *texts])
    if pairs:
        digits = {key: layout.digits if key[0] else COUNT_DIGITS for key in line.cells}
        texts = (difference(*pairs[key], digits[key]) if key in pairs else "" for key in line.cells)
        sheet.lines.append(["", "difference", *texts])
    remark = " ".join(filter(None, [row.remark, source, footnote]))
    for key, cell in line.cells.items():
        numbers_of = numbers(cell, "ours_") | {"difference": pairs[key][0] - pairs[key][1] if key in pairs else None}
        rank: Record = {"rank": ranks.get(key)} if layout.best else {}
        record: Record = place | {"dataset": key[0], "metric": key[1], "printed": line.printed[key]}
        sheet.records.append(record | numbers_of | {"remark": remark} | rank)


def _footnote(layout: Layout, group: Group) -> str | None:
    """Return the group's footnote, with the number of images of datasets that are published with several.

    Scores of the best epoch are beside those of the last one, where runs recorded them.
    """
    several = [name for name in layout.datasets if name in KNOWN and len(KNOWN[name].num_pairs["test"]) > 1]
    found = [f"{number} images of {name}" for name in several if (number := group.num_images(name))]
    images = f"Ours: {' and '.join(found)}." if found else ""
    best = group.best_epochs(layout.datasets, layout.metrics)
    return " ".join(filter(None, [group.footnote, images, best])) or None
