"""Which results fill which rows of the paper's tables, and all tables together."""

from collections.abc import Sequence
from dataclasses import replace

from ipsam.tools.paper.averages import Group, choose
from ipsam.tools.paper.other_runs import other_sheet
from ipsam.tools.paper.printed import PaperTable, Reference, method_key, paper
from ipsam.tools.paper.results import Result
from ipsam.tools.paper.row_sheet import paper_sheet
from ipsam.tools.paper.sheet import Sheet

OF_METHODS = (1, 4)  # tables whose rows are methods, which scored maps can fill

Shown = set[tuple[str, str, str]]  # place, name and dataset


def all_sheets(results: Sequence[Result]) -> tuple[list[Sheet], list[str]]:
    """The paper's tables, and that of the other runs.

    Returns:
        The tables; and a line of text for each result that another one kept out of a row. Unless it repeats that one,
        it is shown among the other runs, or in a row that it does fill.
    """
    groups, kept_out, shown = _fill(results)
    rest = []
    for result in results:
        scores = {
            name: found for name, found in result.scores.items() if (result.place, result.name, name) not in shown
        }
        rest += [replace(result, scores=scores)] if scores else []
    other, repeats = other_sheet(rest)
    return [*(paper_sheet(table, groups) for table in paper().values()), other], [*kept_out, *repeats]


def _fill(results: Sequence[Result]) -> tuple[dict[Reference, Group], list[str], Shown]:
    groups: dict[Reference, Group] = {}
    kept_out: dict[tuple[str, str], list[str]] = {}  # place and reason: of which rows
    shown: Shown = set()
    for table in paper().values():
        for row in table.rows:
            reference = Reference(table.number, row.label)
            claims = [result for result in results if _claims(result, table, reference)]
            if not claims:
                continue
            groups[reference], passed = choose(claims)
            for entry in passed:
                kept_out.setdefault((entry.result.place, entry.reason), []).append(str(reference))
            settled = [*groups[reference].results, *(entry.result for entry in passed if entry.repeats)]
            shown |= {(result.place, result.name, dataset) for result in settled for dataset in table.datasets}
    return groups, [f"{place}: {reason} ({'; '.join(rows)})" for (place, reason), rows in kept_out.items()], shown


def _claims(result: Result, table: PaperTable, reference: Reference) -> bool:
    """Whether the result is one of this row: a run that names it, or scored maps of a method that bears its name."""
    if not any(dataset in result.scores for dataset in table.datasets):
        return False
    if result.seed is None:
        return table.number in OF_METHODS and method_key(result.name) == method_key(reference.row)
    return reference in result.rows
