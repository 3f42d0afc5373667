"""One of the paper's tables, with ours and the difference below each printed row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ipsam.engine.metrics import METRICS
from ipsam.tools.paper.averages import Cell, Group
from ipsam.tools.paper.printed import PaperTable, Reference, Row
from ipsam.tools.paper.sheet import AVERAGE, Record, Sheet

FIELDS = (
    *("table", "section", "row", "dataset", "metric", "paper"),
    *("ours_mean", "ours_std", "num_seeds", "num_images", "difference", "remark"),
)
COUNTS = {"param": "Param (M)", "t_param": "T-Param (M)"}


@dataclass(frozen=True)
class _Number:
    """A printed number and ours: a score on a dataset or, without one, a count of parameters."""

    dataset: str
    metric: str
    printed: str  # empty where the paper leaves it out
    digits: int
    ours: float | None
    cell: Cell | None

    @property
    def text(self) -> str:
        """Ours, as the table shows it."""
        if self.cell is not None:
            return str(self.cell)
        return "" if self.ours is None else f"{self.ours:.{self.digits}f}"

    @property
    def difference(self) -> float | None:
        """Ours - paper."""
        return None if self.ours is None or not self.printed else self.ours - float(self.printed)

    @property
    def signed(self) -> str:
        """The difference of the numbers shown."""
        if self.ours is None or not self.printed:
            return ""
        difference = round(round(self.ours, self.digits) - float(self.printed), self.digits)
        return f"{difference + 0.0:+.{self.digits}f}"  # + 0.0: no -0.000


def paper_sheet(table: PaperTable, groups: Mapping[Reference, Group]) -> Sheet:
    """The table with what fills its rows; other rows have the printed numbers alone."""
    counts = [key for key in COUNTS if any(getattr(row, key) is not None for row in table.rows)]
    sheet = Sheet(
        f"table{table.number}",
        f"Table {table.number}: {table.title}",
        stub=[table.stub, "source", *(COUNTS[key] for key in counts)],
        groups=[(dataset, [METRICS[metric].label for metric in table.metrics]) for dataset in table.datasets],
        fields=FIELDS,
        notes=[f"{AVERAGE} Difference: ours - paper.", *table.notes],
    )
    for section in table.sections:
        if section.title is not None:
            sheet.lines.append(section.title)
        for row in section.rows:
            group = groups.get(Reference(table.number, row.label))
            numbers = _numbers(table, row, counts, group)
            footnote = group.footnote() if group else None
            source = f"{group.source(table.datasets)}{sheet.mark(footnote)}" if group else "ours"
            label = f"{row.label}{sheet.mark(row.remark)}"
            sheet.lines.append([label, "paper", *(number.printed for number in numbers)])
            sheet.lines.append(["", source, *(number.text for number in numbers)])
            if group:
                sheet.lines.append(["", "difference", *(number.signed for number in numbers)])
            place: Record = {"table": table.number, "section": section.title, "row": row.label}
            remark = " ".join(filter(None, [row.remark, footnote]))
            sheet.records += [place | _record(number) | {"remark": remark} for number in numbers]
    return sheet


def _numbers(table: PaperTable, row: Row, counts: Sequence[str], group: Group | None) -> list[_Number]:
    """In the order of the columns."""
    numbers = []
    for key in counts:
        printed = getattr(row, key)
        ours = getattr(group.lead, key) if group else None
        numbers.append(_Number("", key, "" if printed is None else str(printed), 2, ours, None))
    for dataset in table.datasets:
        for metric, score in row.scores[dataset].items():
            cell = group.cell(dataset, metric) if group else None
            numbers.append(_Number(dataset, metric, f"{score:.3f}", 3, cell.mean if cell else None, cell))
    return numbers


def _record(number: _Number) -> Record:
    cell = number.cell
    return {
        "dataset": number.dataset,
        "metric": number.metric,
        "paper": number.printed,
        "ours_mean": number.ours,
        "ours_std": cell.std if cell else None,
        "num_seeds": cell.num_seeds if cell else None,
        "num_images": cell.num_images if cell else None,
        "difference": number.difference,
    }
