"""Sheets as Markdown, CSV and LaTeX, with any names that people give their runs."""

import csv
import re
from pathlib import Path

import pytest
from support.paper_runs import CONFIGS, save_methods, save_run, scores

from ipsam.tools.paper.run_scores import find_scores
from ipsam.tools.paper.sheet import Sheet, to_latex, to_markdown, write
from ipsam.tools.paper.tables import fill_tables

NASTY = "[a]*|_%&#$~^\\{}<>\"`' ± − ⁺ ∗ é\n\ud800\x1b"  # noqa: RUF001


@pytest.fixture(scope="module")
def sheets(tmp_path_factory: pytest.TempPathFactory) -> list[Sheet]:
    """Return the tables of a main run, a trial and scored maps."""
    folder = tmp_path_factory.mktemp("runs")
    save_run(folder / "main", "cod_r32")
    save_run(folder / "trial", "ablation/spg", "engine.epochs=1")
    save_run(folder / "blank", "blank/mask_first", value=0.6)
    save_methods(folder / "scores", {"ZoomNeXt": {"CAMO": scores(0.5, 250)}, NASTY: {NASTY: scores(0.5, 3)}})
    results, _ = find_scores(folder, CONFIGS)
    return fill_tables(results)[0]


def test_markdown(sheets: list[Sheet]) -> None:
    for sheet in sheets:
        title, _, *table = to_markdown(sheet).splitlines()
        assert title == f"## {sheet.title}"
        rows = table[: table.index("")]
        assert len(rows) == len(sheet.lines) + 2
        assert len({len(row) for row in rows}) == 1  # aligned
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {len(sheet.columns) + 1}
    first = to_markdown(sheets[0])
    assert "| CHAMELEON MAE |" in first
    assert "| **IP-SAM Variants (Ours)** " in first
    assert re.search(r"\| YOLOv8\+SAM2\(Auto\) +\| +paper \| +268\.1 \| +0 \| +0\.219 \|", first)
    assert re.search(r"\n- ¹ Maps: .*/scores/metrics\.json\.\n", first)
    assert "\n- Ours: mean ± sample standard deviation" in first
    assert r"| [a]*\|_%&#$~^" in to_markdown(sheets[-1])


def test_csv_has_full_precision(sheets: list[Sheet], tmp_path: Path) -> None:
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
                assert row.get(key, "") == ("" if record.get(key) is None else repr(record[key]))
    assert read[0]["run"] == NASTY.replace("\ud800", "?")


def test_latex_is_well_formed(sheets: list[Sheet]) -> None:
    for sheet in sheets:
        text = to_latex(sheet)
        columns = len(sheet.columns)
        first, second, begin, *body, end = text.splitlines()
        assert r"\usepackage{booktabs}" in first
        assert "xelatex or lualatex" in second
        assert begin == rf"\begin{{tabular}}{{ll{'r' * (columns - 2)}}}"
        assert end == r"\end{tabular}"
        assert [line for line in body if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
        assert all(line.endswith((r" \\", "rule")) or line.startswith(r"\cmidrule") for line in body)
        for line in body[body.index(r"\midrule") + 1 : body.index(r"\bottomrule")]:
            if not line.startswith(r"\multicolumn"):
                assert len(re.findall(r"(?<!\\)&", line)) == columns - 1
            assert line[0] not in "[*"  # the preceding \\ would take them as arguments
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
        assert not set("±−⁺⁻∗¹²³") & set(text)  # noqa: RUF001


def test_latex_escapes_labels_and_names(sheets: list[Sheet]) -> None:
    one, two, three, *_, other = map(to_latex, sheets)
    for text in (
        r"Specialist COD Methods (CNN \& Transformer-based)",
        r"FSPNet {[}14{]} & paper & 274.2 & 274.2 & 0.060",
        r"SAM (Oracle, 1-pt GT)$^{*}$ & paper",
        r"& ours (maps)$^{1}$ &",
        r"\multicolumn{4}{c}{CAMO} & \multicolumn{4}{c}{CHAMELEON}",
        r"\cmidrule(lr){5-8} \cmidrule(lr){9-12} \cmidrule(lr){13-16} \cmidrule(lr){17-20}",
    ):
        assert text in one
    assert r"$^{1}$ " in two.partition(r"\bottomrule")[2]
    assert "engine.epochs 1 (100)" in two.partition(r"\bottomrule")[2]
    for text in ("P$^{+}$ (Direct output", "Subtraction (E$^{+}$ $-$ E$^{-}$)", r"Sparse (50\%)", "+0.468 & $-$0.378"):
        assert text in three
    assert other.partition("\\midrule\n")[2].partition(" & ours")[0] == (
        r"{[}a{]}{*}$|$\_\%\&\#\$\textasciitilde{}\textasciicircum{}\textbackslash{}\{\}$<$$>$'''' "
        r"$\pm$ $-$ $^{+}$ $^{*}$ é \textbackslash{}ud800\textbackslash{}x1b"
    )
