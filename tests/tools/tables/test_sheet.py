"""Sheets as Markdown, CSV and LaTeX, with any names that people give their runs."""

import csv
import re
import shutil
import string
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font, LoadFlags
from support.paper_runs import CONFIGS, save_methods, save_run, scores

from ipsam.tools.tables.fill import fill_paper
from ipsam.tools.tables.latex import SEPARATION, fit_page, to_latex, width
from ipsam.tools.tables.output import to_html, write
from ipsam.tools.tables.run_scores import find_scores
from ipsam.tools.tables.sheet import PAGE, Sheet, plain, to_markdown

ENDS = ("md", "csv", "html", "tex")
PDFLATEX, TECTONIC = shutil.which("pdflatex"), shutil.which("tectonic")
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
    return fill_paper(results)[0]


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
        markdown, comma, html, latex = write(sheet, tmp_path / "out")
        assert [path.name for path in (markdown, comma, html, latex)] == [f"{sheet.name}.{end}" for end in ENDS]
        assert markdown.read_text(encoding="utf-8") == to_markdown(sheet)
        assert html.read_text(encoding="utf-8") == to_html(sheet)
        assert latex.read_text(encoding="utf-8") == to_latex(sheet)
        with comma.open(newline="", encoding="utf-8") as file:
            read = list(csv.DictReader(file))
        assert len(read) == len(sheet.records) > 0
        assert all(None not in row and None not in row.values() for row in read)
        for row, record in zip(read, sheet.records, strict=True):
            for key in ("ours_mean", "mean", "difference"):
                assert row.get(key, "") == ("" if record.get(key) is None else repr(record[key]))
    assert read[0]["run"] == NASTY.replace("\ud800", "?")


def test_html_is_a_page_of_escaped_texts(sheets: list[Sheet]) -> None:
    for sheet in sheets:
        root = ElementTree.fromstring(re.sub(r"<!DOCTYPE.*?>|<meta.*?>", "", to_html(sheet)))
        rows = [["".join(cell.itertext()) for cell in row] for row in root.findall(".//tbody/tr")]
        assert rows == [[plain(one) for one in ([line] if isinstance(line, str) else line)] for line in sheet.lines]
        assert ["".join(note.itertext()) for note in root.findall(".//li")] == [*map(plain, sheet.all_notes)]
    assert "<td>[a]*|_%&amp;#$~^" in to_html(sheets[-1])


def test_best_and_second_best_are_marked() -> None:
    sheet = Sheet("mine", "Mine", [("", "row"), ("x", "MAE")], [], lines=[["a", "0.1"], ["b", "0.2"], ["c", "0.3"]])
    sheet.ranks = {(0, 1): 1, (1, 1): 2}
    assert [to_markdown(sheet).count(text) for text in ("**0.1**", " *0.2* ", " 0.3 ")] == [1, 1, 1]
    assert [to_html(sheet).count(text) for text in ("<b>0.1</b>", "<u>0.2</u>", "<td>0.3</td>")] == [1, 1, 1]
    assert [to_latex(sheet).count(text) for text in (r"\textbf{0.1}", r"\underline{0.2}", "& 0.3 ")] == [1, 1, 1]


def test_latex_is_well_formed(sheets: list[Sheet]) -> None:
    for sheet in sheets:
        text = to_latex(sheet)
        first, second, third, *_ = text.splitlines()
        assert re.fullmatch(
            r".*Needs \\usepackage\{(array,)?booktabs(,longtable)?(,pdflscape)?\} in the preamble\.", first
        )
        assert "345 x 550 pt" in second
        assert "xelatex or lualatex" in third
        tables = re.findall(r"\\begin\{(tabular|longtable)\}\{([^\n]*)\}\n(.*?)\\end\{\1\}", text, re.DOTALL)
        spread = [len(re.findall("[lrp]", re.sub(r">\{.*?\}(p)\{[\d.]+pt\}", r"\1", spec))) for _, spec, _ in tables]
        assert sum(spread) - 2 * len(tables) == len(sheet.columns) - 2
        for (_, _, content), columns in zip(tables, spread, strict=True):
            body = content.splitlines()
            assert [line for line in body if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
            assert len(body) - body.index(r"\midrule") >= len(sheet.lines)
            for line in body[body.index(r"\midrule") + 1 : body.index(r"\bottomrule")]:
                if not line.startswith((r"\multicolumn", r"\endhead")):
                    assert line.endswith(r" \\")
                    assert len(re.findall(r"(?<!\\)&", line)) == columns - 1
                assert line[0] not in "[*"  # the preceding \\ would take them as arguments
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
        assert not set("±−⁺⁻∗¹²³") & set(text)  # noqa: RUF001


def test_widths_are_not_below_computer_moderns() -> None:
    """In its font of 10 pt, which Matplotlib brings; a table whose estimate fits a page then fits it."""
    font = FT2Font(str(Path(get_data_path()) / "fonts/ttf/cmr10.ttf"))
    font.set_size(10, 72)
    for character in [*string.ascii_letters, *string.digits, *"()[]/.,:;+-=&%"]:
        real = font.load_char(ord(character), flags=LoadFlags.NO_HINTING).linearHoriAdvance / 65536
        assert real <= width(f"{character} ") - width(" ") + 1e-3, character
        if character in string.digits:
            assert real <= width(character) + 1e-3


def test_tables_fit_their_page(sheets: list[Sheet]) -> None:
    for sheet in sheets:
        for page in ((345, 550), (497, 641), (237, 641)):
            sheet.page = page
            fit = fit_page(sheet)
            for part in fit.parts:
                assert sum(fit.widths[i] + 2 * SEPARATION for i in part) <= page[fit.landscape], (sheet.name, page)
        sheet.page = PAGE


@pytest.mark.slow
@pytest.mark.skipif(not (PDFLATEX or TECTONIC), reason="needs pdflatex or tectonic")
def test_latex_compiles_without_overfull_lines(sheets: list[Sheet], tmp_path: Path) -> None:
    long = Sheet("long", "Long", [("", "row"), ("", "source"), ("x", "MAE")], [], lines=[["a " * 99, "b", "0.1"]])
    long.lines.insert(0, "a section with a long title " * 9)
    texts = [to_latex(sheet).replace(r"\textbackslash{}ud800\textbackslash{}x1b", "") for sheet in [*sheets, long]]
    packages = r"\usepackage{array,booktabs,longtable,pdflscape}"
    pages = "\n\\clearpage\n".join(texts)
    (tmp_path / "all.tex").write_text(
        f"\\documentclass{{article}}{packages}\n\\begin{{document}}\n{pages}\\end{{document}}\n"
    )
    command = [PDFLATEX, "-interaction=nonstopmode"] if PDFLATEX else [TECTONIC, "--keep-logs"]
    for _ in range(2):  # the second time with the widths that longtable noted
        done = subprocess.run([*command, "all.tex"], cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    assert not re.findall(r"Overfull.*", (tmp_path / "all.log").read_text(errors="replace"))


def test_latex_escapes_labels_and_names(sheets: list[Sheet]) -> None:
    one, two, three, *_, other = map(to_latex, sheets)
    for text in (
        r"Specialist COD Methods (CNN \& Transformer-based)",
        r"FSPNet {[}14{]} & paper & 274.2 & 274.2 & 0.060",
        r"SAM (Oracle, 1-pt GT)$^{*}$ & paper",
        r"& ours (maps)$^{1}$ &",
        r"\multicolumn{4}{c}{CAMO} & \multicolumn{4}{c}{CHAMELEON}",
        r"\cmidrule(lr){5-8} \cmidrule(lr){9-12}",
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
