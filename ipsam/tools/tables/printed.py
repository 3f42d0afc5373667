"""The paper's tables as printed: the layouts ``table1.yaml`` to ``table4.yaml``, and the statements of its text."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ipsam.tools.tables.layout import Layout, Row
from ipsam.utils.untrusted import read_plain_yaml

LAYOUTS = Path(__file__).with_name("layouts")


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
def paper() -> Mapping[int, Layout]:
    """Read the tables, by number."""
    return {number: Layout.read(LAYOUTS / f"table{number}.yaml") for number in (1, 2, 3, 4)}


@cache
def statements() -> tuple[Statement, ...]:
    """Read the statements of the text, in its order."""
    return tuple(Statement(**content) for content in read_plain_yaml(LAYOUTS / "text.yaml"))


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
