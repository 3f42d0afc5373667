"""The paper's tables with our scores below each printed row, its text's numbers, and tables of all other runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ipsam.data.benchmarks import KNOWN
from ipsam.engine.metrics import HEADLINE, METRICS
from ipsam.tools.paper.averages import AVERAGE, Group, choose, grouped, numbers
from ipsam.tools.paper.blanks import blank_sheet
from ipsam.tools.paper.changes import base_of
from ipsam.tools.paper.printed import PaperTable, Reference, Row, method_key, paper
from ipsam.tools.paper.run_scores import RunScores
from ipsam.tools.paper.sheet import Record, Sheet
from ipsam.tools.paper.text_sheet import text_sheet

METHOD_TABLES = (1, 4)  # their rows are methods, which scored maps can fill
FIELDS = (
    *("table", "section", "row", "dataset", "metric", "paper"),
    *("ours_mean", "ours_std", "num_seeds", "num_images", "difference", "remark"),
)
OTHER_FIELDS = ("run", "dataset", "metric", "mean", "std", "num_seeds", "num_images", "remark")
COUNTS = {"param": "Param (M)", "t_param": "T-Param (M)"}


def fill_tables(results: Sequence[RunScores]) -> tuple[list[Sheet], list[str]]:
    """Fill the paper's tables, and collect all other scores in two more: runs of ``experiment/blank``, and the rest.

    Returns:
        The tables, and a line for each result that another one kept out of a row. Such a result is among the other
        runs or in another row, unless it repeats a seed.
    """
    sheets: list[Sheet] = []
    kept_out: dict[str, list[str]] = {}  # rows by result and reason
    shown: set[tuple[str, str, str]] = set()  # place, name and dataset
    for table in paper().values():
        groups: dict[str, Group] = {}
        for row in table.rows:
            reference = Reference(table.number, row.label)
            claims = [result for result in results if _claims(result, table, reference)]
            if not claims:
                continue
            groups[row.label], rejected = choose(claims)
            for entry in rejected:
                kept_out.setdefault(str(entry), []).append(str(reference))
            settled = [*groups[row.label].members, *(entry.result for entry in rejected if entry.repeats)]
            shown |= {(result.place, result.name, dataset) for result in settled for dataset in table.datasets}
        sheets.append(_paper_sheet(table, groups))
    rest = []
    for result in results:
        unseen = [dataset for dataset in result.scores if (result.place, result.name, dataset) not in shown]
        rest += [replace(result, scores={dataset: result.scores[dataset] for dataset in unseen})] if unseen else []
    blank, repeats = blank_sheet([result for result in rest if base_of(result.name)], results)
    other, more = _other_sheet([result for result in rest if not base_of(result.name)])
    lines = [f"{line} ({'; '.join(rows)})" for line, rows in kept_out.items()]
    return [*sheets, text_sheet(results), blank, other], [*lines, *repeats, *more]


def _claims(result: RunScores, table: PaperTable, reference: Reference) -> bool:
    """Return whether a run names the row, or scored maps have its method's name."""
    if not any(dataset in result.scores for dataset in table.datasets):
        return False
    if result.seed is None:
        return table.number in METHOD_TABLES and method_key(result.name) == method_key(reference.row)
    return reference in result.rows


def _paper_sheet(table: PaperTable, groups: Mapping[str, Group]) -> Sheet:
    """Put ours and the difference below each printed row that has a group."""
    counts = [key for key in COUNTS if any(getattr(row, key) is not None for row in table.rows)]
    sheet = Sheet(
        f"table{table.number}",
        f"Table {table.number}: {table.title}",
        columns=[
            *(("", head) for head in (table.stub, "source", *(COUNTS[key] for key in counts))),
            *((dataset, METRICS[metric].label) for dataset in table.datasets for metric in table.metrics),
        ],
        fields=FIELDS,
        notes=[f"{AVERAGE} Difference: ours - paper.", *table.notes],
    )
    for section in table.sections:
        sheet.lines += [] if section.title is None else [section.title]
        for row in section.rows:
            place: Record = {"table": table.number, "section": section.title, "row": row.label}
            _add_row(sheet, place, row, _printed(row, counts), groups.get(row.label))
    return sheet


def _printed(row: Row, counts: Sequence[str]) -> dict[tuple[str, str], str]:
    """List a row's numbers by dataset and metric as printed; counts have an empty dataset, gaps an empty number."""
    found = {("", key): "" if getattr(row, key) is None else str(getattr(row, key)) for key in counts}
    return found | {(name, metric): f"{score:.3f}" for name, one in row.scores.items() for metric, score in one.items()}


def _add_row(
    sheet: Sheet, place: Record, row: Row, printed: Mapping[tuple[str, str], str], group: Group | None
) -> None:
    cells = {key: group.cell(*key) if group else None for key in printed}
    footnote = _footnote(group, row) if group else None
    source = f"{group.source(name for name, _ in printed)}{sheet.mark(footnote)}" if group else "ours"
    sheet.lines.append([f"{row.label}{sheet.mark(row.remark)}", "paper", *printed.values()])
    sheet.lines.append(["", source, *("" if cell is None else str(cell) for cell in cells.values())])
    if group:
        differences = (cell.minus(float(printed[key])) if cell and printed[key] else "" for key, cell in cells.items())
        sheet.lines.append(["", "difference", *differences])
    for (dataset, metric), cell in cells.items():
        theirs = printed[dataset, metric]
        sheet.records.append(
            place
            | {"dataset": dataset, "metric": metric, "paper": theirs}
            | numbers(cell, "ours_")
            | {"difference": cell.mean - float(theirs) if cell and theirs else None}
            | {"remark": " ".join(filter(None, [row.remark, footnote]))}
        )


def _footnote(group: Group, row: Row) -> str | None:
    """Return the group's footnote, with the number of images of datasets that are published with several.

    Scores of the best epoch are beside those of the last one, where runs recorded them.
    """
    several = [name for name in row.scores if len(KNOWN[name].num_pairs["test"]) > 1]
    found = [f"{number} images of {name}" for name in several if (number := group.num_images(name))]
    images = f"Ours: {' and '.join(found)}." if found else ""
    return " ".join(filter(None, [group.footnote, images, group.best_epochs(row.scores)])) or None


def _other_sheet(results: Sequence[RunScores]) -> tuple[Sheet, list[str]]:
    """List the remaining scores by run and dataset; return also a line for each run that repeats another's seed."""
    columns = [("", head) for head in ("run", "source", "dataset", "images", *(METRICS[key].label for key in HEADLINE))]
    sheet = Sheet("other", "Other runs", columns, OTHER_FIELDS, notes=[AVERAGE])
    groups, repeats = grouped(results)
    for group in groups:
        for dataset in group.datasets:
            _add_other(sheet, group, dataset)
    return sheet, repeats


def _add_other(sheet: Sheet, group: Group, dataset: str) -> None:
    cells = {metric: group.cell(dataset, metric) for metric in HEADLINE}
    images = str(group.num_images(dataset) or "")
    source = f"{group.source([dataset])}{sheet.mark(group.footnote)}"
    texts = ("" if cell is None else str(cell) for cell in cells.values())
    sheet.lines.append([group.lead.name, source, dataset, images, *texts])
    for metric, cell in cells.items():
        if cell is not None:
            place: Record = {"run": group.lead.name, "dataset": dataset, "metric": metric}
            sheet.records.append(place | numbers(cell) | {"remark": group.footnote or ""})
