"""A table of the runs that fill no row of the paper, such as people's own experiments."""

from collections.abc import Sequence

from ipsam.engine.metrics import HEADLINE, METRICS
from ipsam.tools.paper.averages import Group, group_all
from ipsam.tools.paper.results import Result
from ipsam.tools.paper.sheet import AVERAGE, Record, Sheet

FIELDS = ("run", "dataset", "metric", "mean", "std", "num_seeds", "num_images", "remark")


def other_sheet(results: Sequence[Result]) -> tuple[Sheet, list[str]]:
    """A line for each experiment and dataset; and a line of text for each run that only repeats another's seed."""
    sheet = Sheet(
        "other",
        "Other runs",
        stub=["run", "source", "dataset", "images"],
        groups=[("", [METRICS[metric].label for metric in HEADLINE])],
        fields=FIELDS,
        notes=[AVERAGE],
    )
    groups, repeats = group_all(results)
    for group in groups:
        for dataset in dict.fromkeys(dataset for result in group.results for dataset in result.scores):
            _add(sheet, group, dataset)
    return sheet, [f"{entry.result.place}: {entry.reason}" for entry in repeats]


def _add(sheet: Sheet, group: Group, dataset: str) -> None:
    cells = {metric: group.cell(dataset, metric) for metric in HEADLINE}
    images = next((str(cell.num_images) for cell in cells.values() if cell and cell.num_images is not None), "")
    footnote = group.footnote()
    source = f"{group.source([dataset])}{sheet.mark(footnote)}"
    sheet.lines.append(
        [group.lead.name, source, dataset, images, *("" if cell is None else str(cell) for cell in cells.values())]
    )
    place: Record = {"run": group.lead.name, "dataset": dataset}
    sheet.records += [
        place
        | {"metric": metric, "mean": cell.mean, "std": cell.std, "num_seeds": cell.num_seeds}
        | {"num_images": cell.num_images, "remark": footnote or ""}
        for metric, cell in cells.items()
        if cell is not None
    ]
