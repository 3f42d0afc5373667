"""Transcription of the paper's tables: checksums, the text's statements, and look-ups."""

from decimal import Decimal

import pytest
from support.paper_runs import CONFIGS

from ipsam.data.benchmarks import KNOWN, benchmark
from ipsam.engine.metrics import METRICS
from ipsam.model.baselines.detector import NOTHING_FOUND
from ipsam.tools.benchmark.commands import COMMANDS
from ipsam.tools.tables.changes import yaml_names
from ipsam.tools.tables.layout import Layout, Row
from ipsam.tools.tables.printed import Reference, find_row, method_key, paper, references, statements

MAIN = "IP-SAM (SAM2-L, r32)"

# Checksums of each column in thousandths, computed from the paper's text and not from the file: the sum, and the sum of
# row number x value, which changes when rows are swapped.
SUMS = {
    1: [
        *(2237, 14316, 16822, 17177, 2107, 14892, 17392, 17659),
        *(1450, 13942, 17255, 17777, 1927, 15120, 17528, 17835),
    ],
    2: [100, 4089, 4427, 4644, 182, 4261, 4455, 4634],
    3: [455, 16279, 17798, 18592, 767, 16809, 17858, 18491],
    4: [6824, 6297, 7085, 352, 6003, 5419, 6716, 340, 5067, 4563, 6401, 234],
}
WEIGHTED = {
    1: [
        *(23499, 171330, 198187, 202949, 21513, 177382, 204473, 209041),
        *(15144, 166960, 202370, 209755, 20089, 180096, 205621, 210103),
    ],
    2: [282, 12400, 13406, 14047, 515, 12948, 13503, 14035],
    3: [4358, 170203, 186557, 195524, 8530, 177222, 187204, 194035],
    4: [30793, 28463, 31939, 1569, 27050, 24488, 30282, 1522, 23071, 20852, 28960, 1085],
}
COUNTS = {1: (Decimal("5015.13"), Decimal("884.35")), 2: (0, Decimal("85.52")), 3: (0, Decimal("390.44")), 4: (0, 0)}
ROWS = {1: [5, 11, 6], 2: [5], 3: [6, 6, 3, 5], 4: [8]}  # by section


def row(table: int, label: str) -> Row:
    return find_row(Reference(table, label))


def score(table: int, row: Row, dataset: str, metric: str) -> float:
    return float(paper()[table].printed(row)[dataset, metric])


def columns(table: Layout) -> list[list[int]]:
    """Return the values in thousandths, column by column."""
    return [[round(1000 * float(table.printed(row)[key])) for row in table.rows] for key in table.columns]


@pytest.mark.parametrize("number", ROWS)
def test_rows_and_checksums(number: int) -> None:
    table = paper()[number]
    assert [len(rows) for _, rows in table.sections] == ROWS[number]
    assert [title is None for title, _ in table.sections] == [len(ROWS[number]) == 1] * len(ROWS[number])
    assert len({method_key(entry.label) for entry in table.rows}) == len(table.rows)
    assert {benchmark(name).name for name in table.datasets} == set(table.datasets) <= set(KNOWN)
    assert set(table.metrics) <= set(METRICS)
    assert [sum(column) for column in columns(table)] == SUMS[number]
    assert [sum(n * v for n, v in enumerate(column, start=1)) for column in columns(table)] == WEIGHTED[number]
    assert COUNTS[number] == (sum(row.param or 0 for row in table.rows), sum(row.t_param or 0 for row in table.rows))
    for entry in table.rows:
        for values in entry.scores.values():
            assert all(value is not None and round(value, 3) == value for value in values)
            assert 0 < (values[list(table.metrics).index("mae")] or 0) < 0.6


def test_contradictions_in_print_have_a_remark() -> None:
    for entry in paper()[4].rows:
        assert all(score(4, entry, name, "miou") < score(4, entry, name, "mdice") for name in paper()[4].datasets)
    for number in (2, 3):
        for entry in paper()[number].rows:
            swapped = score(number, entry, "COD10K", "mae") > score(number, entry, "CAMO", "mae")
            assert swapped == ("changed places" in (entry.remark or "")) == ("Minimal" in entry.label)
    assert [entry.label for table in paper().values() for entry in table.rows if entry.remark] == [
        *("IP-SAM (SAM2-T, r32)", "IP-SAM (SAM2-B, r32)", "SPG + PSG"),
        *("Minimal-SPG (P⁺ Direct)", "Minimal-SPG + PromptSpace", "None (no interaction)", "w/o PSG (Refine kept)"),
    ]


def test_remarks_on_odd_rows_quote_the_print() -> None:
    """T and B score hardly above SAM2-L without training, and below the LoRA baseline without SPG."""
    small = [row(1, f"IP-SAM (SAM2-{size}, r32)") for size in "TB"]
    untrained, baseline = row(1, "SAM2 [28]"), row(2, "baseline: LoRA and decoder, null prompts")
    for entry in small:
        sm = score(1, entry, "COD10K", "sm")
        assert score(1, untrained, "COD10K", "sm") < sm < score(2, baseline, "COD10K", "sm")
        assert f"{sm:.3f}".lstrip("0") in (entry.remark or "")
        assert ".857" in (entry.remark or "")
    assert ".669" in (small[0].remark or "")
    assert score(2, row(2, "SPG + PSG"), "CAMO", "mae") == 0.034
    assert score(2, row(2, "SPG + PSG + Lat."), "CAMO", "mae") == 0.032


def test_statements_are_measured_by_what_exists() -> None:
    for one in statements():
        assert (one.run is None) != (one.benchmark is None)
        assert one.benchmark is None or one.benchmark in COMMANDS
        assert one.run is None or one.run in yaml_names(CONFIGS / "experiment")
        assert one.metric is None or one.metric in METRICS
        assert (one.run is None) == (one.metric is one.share is None)
    assert [one.share for one in statements() if one.share] == [NOTHING_FOUND]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("SPG", "paper is a list of"),
        ([{"table": "2", "row": "SPG"}], "each entry of paper is"),
        ([{"table": 2}], "each entry of paper is"),
        ([{"table": 2, "row": "SPG", "t_param": 17.0}], "each entry of paper is"),
        (["SPG"], "each entry of paper is"),
        ([{"table": 2, "row": "spg"}], r'no Table 2, row "spg"; rows of that table: baseline: .*; SPG; SPG \+ PSG;'),
        ([{"table": 5, "row": "SPG"}], "the paper has no Table 5; its tables are 1, 2, 3, 4"),
    ],
)
def test_wrong_references_are_named(entries: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        references(entries)


def test_references() -> None:
    assert references(None) == references([]) == ()
    entries = [{"table": 2, "row": "SPG", "why": "so"}, {"table": 4, "row": "IP-SAM (Ours)"}]
    assert references(entries) == (Reference(2, "SPG"), Reference(4, "IP-SAM (Ours)"))
    assert references(entries)[0].why == "so"


@pytest.mark.parametrize(("label", "name"), [("ZoomNeXt [27]", "zoomnext"), ("SAM (Oracle)\u2217", "sam  (ORACLE)")])
def test_method_names_match_without_citation_and_case(label: str, name: str) -> None:
    assert method_key(label) == method_key(name)
