"""Sheets as Markdown, CSV and LaTeX, with whatever people call their runs."""

import csv
import re
from pathlib import Path

import pytest
from support.paper_runs import CONFIGS, save_methods, save_run, scores

from ipsam.tools.paper.all_tables import all_sheets
from ipsam.tools.paper.formats import to_latex, to_markdown, write
from ipsam.tools.paper.results import find_results
from ipsam.tools.paper.sheet import Sheet

NASTY = "[a]*|_%&#$~^\\{}<>\"`' ± − ⁺ ∗ é\n\ud800"  # noqa: RUF001


@pytest.fixture
def sheets(tmp_path: Path) -> list[Sheet]:
    """Of a main run, a trial and scored maps."""
    save_run(tmp_path / "main", "cod_r32")
    save_run(tmp_path / "trial", "ablation/spg", "engine.epochs=1")
    methods = {"ZoomNeXt": {"CAMO": scores(0.5, 250)}, NASTY: {NASTY: scores(0.5, 3)}}
    save_methods(tmp_path / "scores", methods)
    results, _ = find_results(tmp_path, CONFIGS)
    return all_sheets(results)[0]


def width(sheet: Sheet) -> int:
    return len(sheet.stub) + sum(len(columns) for _, columns in sheet.groups)


def test_markdown(sheets: list[Sheet]) -> None:
    for sheet in sheets:
        title, _, *table = to_markdown(sheet).splitlines()
        assert title == f"## {sheet.title}"
        rows = table[: table.index("")]
        assert len(rows) == len(sheet.lines) + 2
        assert len({len(row) for row in rows}) == 1  # aligned
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {width(sheet) + 1}
    first = to_markdown(sheets[0])
    assert "| Method " in first
    assert "| CHAMELEON MAE |" in first
    assert "| **IP-SAM Variants (Ours)** " in first
    assert re.search(r"\| YOLOv8\+SAM2\(Auto\) +\| +paper \| +268\.1 \| +0 \| +0\.219 \|", first)
    assert re.search(r"\n- ¹ Maps: .*/scores/metrics\.json\.\n", first)
    assert "\n- Ours: mean ± sample standard deviation" in first


def test_csv(sheets: list[Sheet], tmp_path: Path) -> None:
    for sheet in sheets:
        markdown, comma, latex = write(sheet, tmp_path / "out")
        assert [path.name for path in (markdown, comma, latex)] == [
            f"{sheet.name}.{end}" for end in ("md", "csv", "tex")
        ]
        assert markdown.read_text(encoding="utf-8") == to_markdown(sheet)
        assert latex.read_text(encoding="utf-8") == to_latex(sheet)
        with comma.open(newline="", encoding="utf-8") as file:
            read = list(csv.DictReader(file))
        assert len(read) == len(sheet.records) > 0
        assert all(None not in row and None not in row.values() for row in read)
        for row, record in zip(read, sheet.records, strict=True):
            for key in ("ours_mean", "mean", "difference"):
                assert row.get(key, "") == ("" if record.get(key) is None else repr(record[key]))  # full precision
    assert read[0]["run"] == NASTY.replace("\ud800", "?")


def test_latex(sheets: list[Sheet]) -> None:
    for sheet in sheets:
        text = to_latex(sheet)
        columns = width(sheet)
        first, second, begin, *body, end = text.splitlines()
        assert first.startswith("% ")
        assert second.startswith("% ")
        assert "xelatex or lualatex" in second
        assert r"\usepackage{booktabs}" in first
        assert begin == rf"\begin{{tabular}}{{ll{'r' * (columns - 2)}}}"
        assert end == r"\end{tabular}"
        assert [line for line in body if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
        assert all(line.endswith((r" \\", "rule")) or line.startswith(r"\cmidrule") for line in body)
        cells = body[body.index(r"\midrule") + 1 : body.index(r"\bottomrule")]
        for line in cells:
            if not line.startswith(r"\multicolumn"):
                assert len(re.findall(r"(?<!\\)&", line)) == columns - 1
            assert line[0] not in "[*"  # which the end of the line above would take for its own
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
        assert not set("±−⁺⁻∗¹²³") & set(text)  # noqa: RUF001


def test_latex_of_the_papers_labels(sheets: list[Sheet]) -> None:
    one, two, three, four, _ = map(to_latex, sheets)
    assert r"Specialist COD Methods (CNN \& Transformer-based)" in one
    assert r"FSPNet {[}14{]} & paper & 274.2 & 274.2 & 0.060" in one
    assert r"SAM (Oracle, 1-pt GT)$^{*}$ & paper" in one
    assert r"& ours (maps)$^{1}$ &" in one
    assert r"\multicolumn{4}{c}{CAMO} & \multicolumn{4}{c}{CHAMELEON}" in one
    assert r"\cmidrule(lr){5-8} \cmidrule(lr){9-12} \cmidrule(lr){13-16} \cmidrule(lr){17-20}" in one
    assert r"$^{1}$ " in two.partition(r"\bottomrule")[2]
    assert "engine.epochs 1 (100)" in two.partition(r"\bottomrule")[2]
    assert "P$^{+}$ (Direct output, no decoder)" in three
    assert "Subtraction (E$^{+}$ $-$ E$^{-}$)" in three
    assert r"Sparse (50\%)" in three
    assert "+0.468 & $-$0.378" in three.partition("Full (ours)")[2]
    assert "Kvasir-SEG" in four


def test_names_that_mean_something_to_latex_or_markdown(sheets: list[Sheet]) -> None:
    other = sheets[-1]
    row = to_latex(other).partition("\\midrule\n")[2].partition(" & ours")[0]
    escaped = (
        r"{[}a{]}{*}$|$\_\%\&\#\$\textasciitilde{}\textasciicircum{}\textbackslash{}\{\}$<$$>$'''' "
        r"$\pm$ $-$ $^{+}$ $^{*}$ é ?"
    )
    assert row == escaped
    assert r"| [a]*\|_%&#$~^" in to_markdown(other)
