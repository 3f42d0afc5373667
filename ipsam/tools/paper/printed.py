"""The paper's tables as printed: ``printed.yaml`` holds each number once, and this module looks them up."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

import yaml

TEXT = "text"  # key of the statements; the other keys are the tables' numbers


@dataclass(frozen=True)
class Row:
    """Row as printed. Parameters are millions, as Decimal to keep the printed digits, and None where not printed."""

    label: str
    scores: Mapping[str, Mapping[str, float]]  # by dataset, then metric
    param: Decimal | None = None
    t_param: Decimal | None = None
    remark: str | None = None  # on contradictions in print and odd numbers


@dataclass(frozen=True)
class Section:
    """Rows under a heading, which is None in a table of one section."""

    title: str | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class PaperTable:
    """Table whose rows give every metric on every dataset, in this order."""

    number: int
    title: str
    stub: str  # head of the labels' column
    metrics: tuple[str, ...]
    datasets: tuple[str, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[Row, ...]:
        """Rows of all sections."""
        return tuple(row for section in self.sections for row in section.rows)


@dataclass(frozen=True, order=True)
class Reference:
    """Reference to a row; ``why`` explains a difference in parameters between the experiment and print."""

    table: int
    row: str
    why: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f'Table {self.table}, row "{self.row}"'


@dataclass(frozen=True)
class Statement:
    """Number or comparison that the text gives and no table holds.

    Attributes:
        section: of the paper.
        claim: what is measured.
        paper: the value as printed, or ``blank``.
        run: experiment whose runs measure it; None where ``benchmark`` does.
        dataset: of ``metric`` or ``share``.
        metric: a metric of the run, or None.
        share: a remark of the run's evaluation, of which the share of images is meant; or None.
        benchmark: sub-command of ``ipsam benchmark`` that measures it, or None.
        remark: ours.
    """

    section: str
    claim: str
    paper: str
    run: str | None = None
    dataset: str = ""
    metric: str | None = None
    share: str | None = None
    benchmark: str | None = None
    remark: str | None = None


@cache
def paper() -> Mapping[int, PaperTable]:
    """Read the tables, by number."""
    return {number: _table(number, content) for number, content in _printed().items() if number != TEXT}


@cache
def statements() -> tuple[Statement, ...]:
    """Read the statements of the text, in its order."""
    return tuple(Statement(**content) for content in _printed()[TEXT])


def _printed() -> dict[Any, Any]:
    text = resources.files("ipsam.tools.paper").joinpath("printed.yaml").read_text(encoding="utf-8")
    content: dict[Any, Any] = yaml.safe_load(text)
    return content


def find_row(reference: Reference) -> Row:
    """Look up a row.

    Raises:
        ValueError: the paper has no such row.
    """
    if reference.table not in paper():
        raise ValueError(f"the paper has no Table {reference.table}; its tables are {', '.join(map(str, paper()))}")
    rows = {row.label: row for row in paper()[reference.table].rows}
    if reference.row not in rows:
        raise ValueError(f"the paper has no {reference}; rows of that table: {'; '.join(rows)}")
    return rows[reference.row]


def references(entries: object) -> tuple[Reference, ...]:
    """Check the rows that an experiment's ``paper`` key names: a list of ``{table, row}`` with an optional ``why``.

    Raises:
        ValueError: the value is not such a list, or names a row that the paper does not have.
    """
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise ValueError(f"paper is a list of {{table: ..., row: ...}}, not {entries!r}")
    found = []
    for entry in entries:
        given: dict[str, Any] = {"why": None, **entry} if isinstance(entry, dict) else {}
        types = {"why": str | None, "table": int, "row": str}
        if given.keys() != types.keys() or not all(isinstance(given[key], types[key]) for key in types):
            raise ValueError(f"each entry of paper is {{table: ..., row: ..., why: ... (if needed)}}, not {entry!r}")
        found.append(Reference(**given))
        find_row(found[-1])
    return tuple(found)


def method_key(label: str) -> str:
    """Normalise a method's name for comparison: without case and without the paper's ``[27]`` or asterisk."""
    return " ".join(re.sub(r"\[\d+\]\s*$|[\u2217*]\s*$", "", label).casefold().split())


def _table(number: int, content: dict[str, Any]) -> PaperTable:
    datasets, metrics = content["datasets"], content["metrics"]

    def row(cells: dict[str, Any]) -> Row:
        label, remark = cells.pop("row"), cells.pop("remark", None)
        param, t_param = (Decimal(cells.pop(key)) if key in cells else None for key in ("param", "t_param"))
        assert list(cells) == datasets, label
        scores = {dataset: dict(zip(metrics, values, strict=True)) for dataset, values in cells.items()}
        return Row(label, scores, param, t_param, remark)

    sections = [Section(one.get("title"), tuple(map(row, one["rows"]))) for one in content["sections"]]
    lists = {"metrics": metrics, "datasets": datasets, "sections": sections, "notes": content.get("notes", ())}
    return PaperTable(number, content["title"], content["stub"], **{key: tuple(value) for key, value in lists.items()})
