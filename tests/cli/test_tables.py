"""The command tables."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.paper_runs import save_methods, save_run, scores
from support.small_run import TINY

from ipsam.utils.console import printable

NAMES = ("table1", "table2", "table3", "table4", "text", "blank", "other")
FILES = sorted(f"{name}.{end}" for name in NAMES for end in ("md", "csv", "html", "tex"))


def test_tables_hold_the_runs_found(script: Callable[..., Any]) -> None:
    save_run(Path("outputs/cod_r32/seed0"), "cod_r32", value=0.5)
    save_run(Path("outputs/cod_r32/seed1"), "cod_r32", value=0.6, seed=1)
    save_run(Path("outputs/quickstart/seed0"), "quickstart")
    broken = save_run(Path("outputs/broken"), "cod_r32") / "eval" / "metrics.json"
    broken.write_text('{"protocol"')
    done = script("tables")
    assert done.status == 0
    assert done.err == ""
    for number in (1, 2, 3, 4):
        assert f"## Table {number}: " in done.out
    printed, _, files = done.out.partition("\nwritten:\n")
    assert printed.count("| ours (2 seeds) |") == 6
    assert printed.count("0.550 ± 0.071") == 16 + 8 + 4 * 8 + 1
    assert re.search(r"\| +blank \| +0\.550 ± 0\.071 \| +cod_r32, ours \(2 seeds\) \|", printed)  # of the text
    assert "| quickstart | ours (1 seed) | synthetic |" in printed
    assert (
        "outputs/tables/table1.md outputs/tables/table1.csv outputs/tables/table1.html outputs/tables/table1.tex"
        in files
    )
    assert f"left out:\n  {broken} is broken or half-written: " in files
    assert sorted(path.name for path in Path("outputs/tables").iterdir()) == FILES
    assert printable(Path("outputs/tables/table1.md").read_text(encoding="utf-8")) in printed + "\n"


def test_tables_can_be_repeated_and_written_elsewhere(script: Callable[..., Any]) -> None:
    """Written tables are not taken for results; nothing is reported as left out."""
    save_methods(Path("scores"), {"ZoomNeXt": {"CAMO": scores(0.5, 250)}})
    first = script("tables", "runs=.")
    again = script("tables", "runs=.")
    assert first.status == again.status == 0
    assert first.out == again.out
    assert "left out" not in first.out
    assert "ours (maps)¹" in first.out
    assert Path("tables/table1.csv").is_file()
    assert script("tables", "runs=scores", "out=elsewhere/t").status == 0
    assert sorted(path.name for path in Path("elsewhere/t").iterdir()) == FILES


def test_finished_training_is_in_the_tables(script: Callable[..., Any]) -> None:
    """A shortened quickstart is listed by name, with its changed settings."""
    assert script("train", *TINY, "run_dir=outputs/quickstart/seed0").status == 0
    done = script("tables")
    assert done.status == 0
    mae = json.loads(Path("outputs/quickstart/seed0/eval/metrics.json").read_text())["datasets"]["synthetic"]["mae"]
    (line,) = [line for line in done.out.splitlines() if line.startswith("| quickstart ")]
    assert line.split("|")[5].strip() == f"{mae:.3f}"
    assert "ours (1 seed)¹" in line
    assert "engine.epochs 1 (9)" in done.out
    assert "left out" not in done.out


def test_table_of_a_layout(script: Callable[..., Any]) -> None:
    """From runs and from scored maps of another protocol, which the paper's tables refuse."""
    save_methods(Path("scores"), {"Net": {"mine": scores(0.25, 3)}}, protocol="float")
    save_run(Path("outputs/quickstart"), "quickstart", datasets={"mine": scores(0.5, 3)})
    rows = "rows: [{label: A, maps: net}, {label: B, run: outputs/quickstart}]"
    Path("own.yaml").write_text(f"title: Own\ndatasets: [mine]\nmetrics: [mae]\n{rows}\n")
    done = script("tables", "layout=own.yaml", "runs=[outputs,scores]")
    assert done.status == 0
    assert (
        "mine: scored by the default protocol (eight_bit=True), other rows by the protocol 'float' (eight" in done.out
    )
    assert (
        "written:\n  outputs/tables/own.md outputs/tables/own.csv outputs/tables/own.html outputs/tables/own"
        in done.out
    )
    Path("own.yaml").write_text("title: Own\n")
    assert "own.yaml: datasets is missing\n" in script("tables", "layout=own.yaml").err
