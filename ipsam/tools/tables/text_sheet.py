"""Numbers and comparisons of the paper's text that no table holds, with ours beside them."""

from collections.abc import Sequence

from ipsam.tools.tables.averages import AVERAGE, Cell, Group, choose, numbers
from ipsam.tools.tables.printed import Statement, statements
from ipsam.tools.tables.run_scores import RunScores
from ipsam.tools.tables.sheet import Record, Sheet

FIELDS = ("section", "claim", "paper", "ours_mean", "ours_std", "num_seeds", "num_images", "remark")


def text_sheet(results: Sequence[RunScores]) -> Sheet:
    """Put the runs that measure each statement beside it."""
    columns = [("", head) for head in ("statement", "section", "paper", "ours", "measured by")]
    sheet = Sheet("text", "The paper's text", columns, FIELDS, notes=[AVERAGE])
    for one in statements():
        found = [result for result in results if result.name == one.run and one.dataset in result.scores]
        group = choose(found)[0] if found else None
        cell = _cell(one, group) if group else None
        footnote = group.footnote if group else None
        source = f"ipsam benchmark {one.benchmark}" if one.benchmark else str(one.run)
        if group:
            source = f"{source}, {group.source([one.dataset])}{sheet.mark(footnote)}"
        ours = "" if cell is None else f"{cell}{' %' if one.share else ''}"
        sheet.lines.append([f"{one.claim}{sheet.mark(one.remark)}", one.section, one.paper, ours, source])
        place: Record = {"section": one.section, "claim": one.claim, "paper": one.paper}
        remark = " ".join(filter(None, [one.remark, footnote]))
        sheet.records.append(place | numbers(cell, "ours_") | {"remark": remark})
    return sheet


def _cell(statement: Statement, group: Group) -> Cell | None:
    """Average the statement's metric, or its share of images in percent, over the seeds."""
    if statement.metric:
        return group.cell(statement.dataset, statement.metric)
    members = [member for member in group.members if statement.dataset in member.scores]
    shares = [100 * member.shares.get(statement.dataset, {}).get(str(statement.share), 0.0) for member in members]
    return group.average(statement.dataset, shares, digits=1)
