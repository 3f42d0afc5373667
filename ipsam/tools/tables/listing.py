"""Tables of runs that no layout names: those of ``configs/experiment/blank`` beside ``cod_r32``, and all others."""

from collections.abc import Sequence

from ipsam.engine.metrics import HEADLINE, METRICS
from ipsam.tools.tables.averages import AVERAGE, Group, choose, difference, grouped, numbers
from ipsam.tools.tables.changes import base_of
from ipsam.tools.tables.run_scores import RunScores
from ipsam.tools.tables.sheet import Record, Sheet

FIELDS = ("run", "dataset", "metric", "mean", "std", "num_seeds", "num_images", "remark")
BLANK_FIELDS = (
    *("run", "changed", "dataset", "metric", "mean", "std", "num_seeds", "num_images"),
    *("base_mean", "difference", "remark"),
)
NOTHING = "nothing: the scale sets the same keys"  # +scale=toy the learning rate, +scale=short the size
NOTES = (
    "What the paper leaves open: each run changes these settings of cod_r32, whose values are in brackets.",
    "Difference: to the runs of cod_r32, at the same scale and on as many images; blank where there is none.",
)


def other_sheet(results: Sequence[RunScores]) -> tuple[Sheet, list[str]]:
    """List scores by run and dataset; return also a line for each run that repeats another's seed."""
    sheet = Sheet("other", "Other runs", _columns("run", "source"), FIELDS, [AVERAGE])
    groups, repeats = grouped(results)
    for group in groups:
        _add(sheet, group)
    return sheet, repeats


def blank_sheet(results: Sequence[RunScores], bases: Sequence[RunScores]) -> tuple[Sheet, list[str]]:
    """List runs of ``experiment/blank`` by dataset, with what each changed and the difference that it makes.

    Args:
        results: runs of ``experiment/blank``.
        bases: all runs, among them those of ``cod_r32``.

    Returns:
        The table, and a line for each run that repeats another's seed.
    """
    columns = _columns("experiment", "source", "changed")
    sheet = Sheet("blank", "What the paper leaves open", columns, BLANK_FIELDS, [*NOTES, AVERAGE])
    groups, repeats = grouped(results)
    for group in sorted(groups, key=lambda group: group.lead.name):
        found = [result for result in bases if result.name == base_of(group.lead.name)]
        _add(sheet, group, choose(found)[0] if found else None)
    return sheet, repeats


def _columns(*heads: str) -> list[tuple[str, str]]:
    return [("", head) for head in (*heads, "dataset", "images", *(METRICS[key].label for key in HEADLINE))]


def _add(sheet: Sheet, group: Group, base: Group | None = None) -> None:
    """Add a group's scores on each dataset, with the differences to the base's where it scored as many images."""
    changed = [", ".join(group.lead.changed) or NOTHING] if "changed" in sheet.fields else []
    for dataset in group.datasets:
        cells = {metric: cell for metric in HEADLINE if (cell := group.cell(dataset, metric))}
        comparable = base if base and base.num_images(dataset) == group.num_images(dataset) else None
        others = {metric: cell.mean for metric in cells if comparable and (cell := comparable.cell(dataset, metric))}
        source = f"{group.source([dataset])}{sheet.mark(group.footnote)}"
        scores = (str(cells.get(metric, "")) for metric in HEADLINE)
        sheet.lines.append([group.lead.name, source, *changed, dataset, str(group.num_images(dataset) or ""), *scores])
        if others:
            texts = (difference(cells[key].mean, others[key]) if key in others else "" for key in HEADLINE)
            sheet.lines.append(["", "difference", *[""] * (len(changed) + 2), *texts])
        for metric, cell in cells.items():
            mean = others.get(metric)
            record: Record = {
                **{"run": group.lead.name, "changed": "".join(changed), "dataset": dataset, "metric": metric},
                **numbers(cell),
                **{"base_mean": mean, "difference": None if mean is None else cell.mean - mean},
                **{"remark": group.footnote or ""},
            }
            sheet.records.append({field: record[field] for field in sheet.fields})
