"""Runs of ``configs/experiment/blank``: what each changed, beside the runs of ``cod_r32``."""

from collections.abc import Sequence

from ipsam.engine.metrics import HEADLINE, METRICS
from ipsam.tools.paper.averages import AVERAGE, Group, choose, grouped, numbers
from ipsam.tools.paper.changes import base_of
from ipsam.tools.paper.run_scores import RunScores
from ipsam.tools.paper.sheet import Record, Sheet

FIELDS = (
    *("run", "changed", "dataset", "metric", "mean", "std", "num_seeds", "num_images"),
    *("base_mean", "difference", "remark"),
)
NOTHING = "nothing: the scale sets the same keys"  # +scale=toy the learning rate, +scale=short the size
NOTES = (
    "What the paper leaves open: each run changes these settings of cod_r32, whose values are in brackets.",
    "Difference: to the runs of cod_r32, at the same scale and on as many images; blank where there is none.",
)


def blank_sheet(results: Sequence[RunScores], bases: Sequence[RunScores]) -> tuple[Sheet, list[str]]:
    """List runs of ``experiment/blank`` by dataset; return also a line for each run that repeats another's seed.

    Args:
        results: runs of ``experiment/blank``.
        bases: all runs, among them those of ``cod_r32``.
    """
    heads = ("experiment", "source", "changed", "dataset", "images", *(METRICS[key].label for key in HEADLINE))
    sheet = Sheet("blank", "What the paper leaves open", [("", head) for head in heads], FIELDS, [*NOTES, AVERAGE])
    groups, repeats = grouped(results)
    for group in sorted(groups, key=lambda group: group.lead.name):
        found = [result for result in bases if result.name == base_of(group.lead.name)]
        base = choose(found)[0] if found else None
        for dataset in group.datasets:
            _add(sheet, group, base, dataset)
    return sheet, repeats


def _add(sheet: Sheet, group: Group, base: Group | None, dataset: str) -> None:
    changed = ", ".join(group.lead.changed) or NOTHING
    cells = {metric: cell for metric in HEADLINE if (cell := group.cell(dataset, metric))}
    comparable = base if base and base.num_images(dataset) == group.num_images(dataset) else None
    others = {metric: comparable.cell(dataset, metric) if comparable else None for metric in cells}
    images = str(group.num_images(dataset) or "")
    source = f"{group.source([dataset])}{sheet.mark(group.footnote)}"
    scores = (str(cells.get(metric, "")) for metric in HEADLINE)
    sheet.lines.append([group.lead.name, source, changed, dataset, images, *scores])
    if any(others.values()):
        differences = (cells[key].minus(other.mean) if (other := others.get(key)) else "" for key in HEADLINE)
        sheet.lines.append(["", "difference", "", "", "", *differences])
    for metric, cell in cells.items():
        mean = other.mean if (other := others[metric]) else None
        place: Record = {"run": group.lead.name, "changed": changed, "dataset": dataset, "metric": metric}
        difference = None if mean is None else cell.mean - mean
        rest: Record = {"base_mean": mean, "difference": difference, "remark": group.footnote or ""}
        sheet.records.append(place | numbers(cell) | rest)
