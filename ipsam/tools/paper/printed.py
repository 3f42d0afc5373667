"""The paper's tables as printed: ``printed.yaml``, which holds each number once, and how to look things up in it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any

import yaml


@dataclass(frozen=True)
class Row:
    """A row as printed; parameters are None where the paper gives none, Decimal to keep the digits it gives."""

    label: str
    scores: Mapping[str, Mapping[str, float]]  # dataset, then metric
    param: Decimal | None = None  # millions
    t_param: Decimal | None = None
    remark: str | None = None  # what is odd about it in print


@dataclass(frozen=True)
class Section:
    """Rows under a heading; a table of one part has no heading."""

    title: str | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class PaperTable:
    """A table: its rows give every metric on every dataset, in this order."""

    number: int
    title: str
    stub: str  # head of the labels' column
    metrics: tuple[str, ...]
    datasets: tuple[str, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all sections."""
        return tuple(row for section in self.sections for row in section.rows)


@dataclass(frozen=True, order=True)
class Reference:
    """Where a row stands; and ``why`` the experiment that names it counts other parameters than are printed."""

    table: int
    row: str
    why: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f'Table {self.table}, row "{self.row}"'


@cache
def paper() -> Mapping[int, PaperTable]:
    """The tables by their number."""
    text = resources.files("ipsam.tools.paper").joinpath("printed.yaml").read_text(encoding="utf-8")
    return {number: _table(number, **content) for number, content in yaml.safe_load(text).items()}


def find_row(reference: Reference) -> Row:
    """The row that is meant.

    Raises:
        ValueError: if there is none.
    """
    if reference.table not in paper():
        raise ValueError(f"the paper has no Table {reference.table}; its tables are {', '.join(map(str, paper()))}")
    rows = {row.label: row for row in paper()[reference.table].rows}
    if reference.row not in rows:
        raise ValueError(f"the paper has no {reference}; rows of that table: {'; '.join(rows)}")
    return rows[reference.row]


def references(entries: object) -> tuple[Reference, ...]:
    """The rows that an experiment's ``paper`` key names: a list of ``{table: ..., row: ...}`` or nothing; they exist.

    An entry may also say ``why`` the parameters differ.

    Raises:
        ValueError: if it is no such list or names a row that the paper does not have.
    """
    if entries is None:
        return ()
    if not isinstance(entries, list):
        raise ValueError(f"paper is a list of {{table: ..., row: ...}}, not {entries!r}")
    found = []
    for entry in entries:
        given = entry if isinstance(entry, dict) else {}
        table, row, why = given.get("table"), given.get("row"), given.get("why")
        known = given.keys() <= {"table", "row", "why"}
        if not (known and isinstance(table, int) and isinstance(row, str) and isinstance(why, str | None)):
            raise ValueError(f"each entry of paper is {{table: ..., row: ..., why: ... (if needed)}}, not {entry!r}")
        found.append(Reference(table, row, why))
        find_row(found[-1])
    return tuple(found)


def method_key(label: str) -> str:
    """By what a method is known again: its name in any case of letters, without the paper's ``[27]`` or asterisk."""
    return " ".join(re.sub(r"\[\d+\]\s*$|[\u2217*]\s*$", "", label).casefold().split())


def _table(
    number: int,
    *,
    title: str,
    stub: str,
    metrics: list[str],
    datasets: list[str],
    sections: list[dict[str, Any]],
    notes: Sequence[str] = (),
) -> PaperTable:
    def row(*, row: str, remark: str | None = None, **cells: Any) -> Row:
        counts = {name: Decimal(cells.pop(name)) if name in cells else None for name in ("param", "t_param")}
        assert list(cells) == datasets, row
        scores = {dataset: dict(zip(metrics, values, strict=True)) for dataset, values in cells.items()}
        return Row(row, scores, **counts, remark=remark)

    parts = tuple(Section(part.get("title"), tuple(row(**cells) for cells in part["rows"])) for part in sections)
    return PaperTable(number, title, stub, tuple(metrics), tuple(datasets), parts, tuple(notes))
