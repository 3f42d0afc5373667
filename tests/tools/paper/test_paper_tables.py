"""Filling the paper's tables: means, deviations, differences, blanks; and which runs may be averaged."""

from pathlib import Path
from typing import Any

import pytest
from support.paper_runs import CONFIGS, save_methods, save_run, scores

from ipsam.tools.paper.all_tables import all_sheets
from ipsam.tools.paper.printed import paper
from ipsam.tools.paper.results import find_results
from ipsam.tools.paper.sheet import Sheet

MAIN = "IP-SAM (SAM2-L, r32)"
COD = {"CAMO": 250, "CHAMELEON": 76, "COD10K": 2026, "NC4K": 4121}


def tables(folder: Path) -> tuple[dict[str, Sheet], list[str]]:
    """The sheets by name, and what was kept out of them."""
    results, left_out = find_results(folder, CONFIGS)
    assert left_out == []
    sheets, kept_out = all_sheets(results)
    assert [sheet.name for sheet in sheets] == ["table1", "table2", "table3", "table4", "other"]
    return {sheet.name: sheet for sheet in sheets}, kept_out


def lines_of(sheet: Sheet, label: str) -> list[list[str]]:
    """A row's lines: as printed, ours and, if there is any of ours, the difference."""
    lines = [line for line in sheet.lines if isinstance(line, list)]
    start = next(index for index, line in enumerate(lines) if line[0] == label)
    rest = [line for line in lines[start + 1 : start + 3] if not line[0]]
    return [lines[start], *rest]


def cell(sheet: Sheet, label: str, column: str) -> list[str]:
    """Down the lines of a row, what stands under a head such as ``CAMO MAE``."""
    heads = [*sheet.stub, *(f"{group} {head}" for group, columns in sheet.groups for head in columns)]
    return [line[heads.index(column)] for line in lines_of(sheet, label)]


def record(sheet: Sheet, **keys: Any) -> dict[str, Any]:
    """The one record with these values."""
    (found,) = [entry for entry in sheet.records if all(entry[key] == value for key, value in keys.items())]
    return dict(found)


def three_seeds(folder: Path) -> None:
    for seed, mae in enumerate((0.030, 0.032, 0.037)):
        datasets = {name: scores(0.9, size, mae=mae) for name, size in COD.items()}
        run = save_run(folder / f"cod_r32/seed{seed}", "cod_r32", seed=seed, datasets=datasets)
        (run / "environment.jsonl").write_text('{"parameters": {"param": 233.9712, "t_param": 21.2567}}\n')


def test_mean_deviation_and_difference(tmp_path: Path) -> None:
    three_seeds(tmp_path)
    sheets, kept_out = tables(tmp_path)
    assert kept_out == []
    sheet = sheets["table1"]
    assert cell(sheet, MAIN, "source") == ["paper", "ours (3 seeds)", "difference"]
    assert cell(sheet, MAIN, "CAMO MAE") == ["0.032", "0.033 ± 0.004", "+0.001"]
    assert cell(sheet, MAIN, "CAMO Fw") == ["0.878", "0.900 ± 0.000", "+0.022"]
    assert cell(sheet, MAIN, "CHAMELEON Sm") == ["0.920", "0.900 ± 0.000", "-0.020"]
    assert cell(sheet, MAIN, "Param (M)") == ["237.08", "233.97", "-3.11"]
    assert cell(sheet, MAIN, "T-Param (M)") == ["21.26", "21.26", "+0.00"]
    found = record(sheet, row=MAIN, dataset="CAMO", metric="mae")
    assert found["ours_mean"] == pytest.approx(0.033, abs=1e-15)
    assert found["ours_std"] == pytest.approx(0.0036055512754639925)  # by n - 1
    assert found["difference"] == pytest.approx(0.001, abs=1e-15)
    assert (found["paper"], found["num_seeds"], found["num_images"], found["remark"]) == ("0.032", 3, 250, "")
    counts = record(sheet, row=MAIN, metric="t_param")
    assert (counts["dataset"], counts["paper"], counts["ours_mean"], counts["num_seeds"]) == (
        "",
        "21.26",
        21.2567,
        None,
    )


def test_one_run_fills_its_rows_in_every_table(tmp_path: Path) -> None:
    three_seeds(tmp_path)
    sheets, _ = tables(tmp_path)
    rows = [("table2", "SPG + PSG + Lat. + Ref.")]
    rows += [("table3", section.rows[-1].label) for section in paper()[3].sections]
    for name, label in rows:
        assert cell(sheets[name], label, "CAMO MAE") == ["0.032", "0.033 ± 0.004", "+0.001"]
        assert cell(sheets[name], label, "COD10K MAE") == ["0.017", "0.033 ± 0.004", "+0.016"]
        assert cell(sheets[name], label, "T-Param (M)") == ["21.26", "21.26", "+0.00"]
    assert sheets["other"].lines == sheets["other"].records == []


def test_polyps_have_their_own_metrics(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "kvasir_r32")
    sheet = tables(tmp_path)[0]["table4"]
    line = lines_of(sheet, "IP-SAM (Ours)")
    assert line[0][1:6] == ["paper", "0.913", "0.861", "0.929", "0.025"]
    assert line[1][1:6] == ["ours (1 seed)", *["0.500"] * 4]
    assert line[2][1:6] == ["difference", "-0.413", "-0.361", "-0.429", "+0.475"]
    assert "Param (M)" not in sheet.stub
    assert record(sheet, row="IP-SAM (Ours)", dataset="CVC-ClinicDB", metric="miou")["num_images"] == 612


def test_without_a_run_ours_is_blank(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "quickstart")
    sheets, _ = tables(tmp_path)
    for number, table in paper().items():
        sheet = sheets[f"table{number}"]
        lines = [line for line in sheet.lines if isinstance(line, list)]
        assert len(lines) == 2 * len(table.rows)
        assert all(line[:2] == ["", "ours"] and not any(line[2:]) for line in lines[1::2])
        assert [line for line in sheet.lines if isinstance(line, str)] == [
            section.title for section in table.sections if section.title
        ]
        scored = [entry for entry in sheet.records if entry["dataset"]]
        assert len(scored) == len(table.rows) * len(table.datasets) * len(table.metrics)
        for entry in sheet.records:
            assert entry["ours_mean"] is entry["ours_std"] is entry["difference"] is entry["num_seeds"] is None
            assert list(entry) == list(sheet.fields)


def test_a_dataset_or_metric_without_scores_is_blank(tmp_path: Path) -> None:
    save_run(tmp_path / "a", "cod_r32", datasets={"CAMO": scores(0.5, 250), "NC4K": {"num_images": 4121, "sm": 0.5}})
    save_run(tmp_path / "b", "cod_r32", seed=1, datasets={"CAMO": scores(0.6, 250)})
    sheet = tables(tmp_path)[0]["table1"]
    assert cell(sheet, MAIN, "source")[1] == "ours (1 to 2 seeds)"
    assert cell(sheet, MAIN, "CAMO Sm")[1:] == ["0.550 ± 0.071", "-0.362"]
    assert cell(sheet, MAIN, "NC4K Sm")[1:] == ["0.500", "-0.411"]
    assert cell(sheet, MAIN, "NC4K Em")[1:] == cell(sheet, MAIN, "COD10K MAE")[1:] == ["", ""]
    assert cell(sheet, MAIN, "Param (M)")[1:] == ["", ""]
    assert record(sheet, row=MAIN, dataset="NC4K", metric="sm")["num_seeds"] == 1


def test_no_difference_has_no_sign_of_its_own(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "cod_r32", datasets={"CAMO": scores(0.5, 250, mae=0.03199)})
    assert cell(tables(tmp_path)[0]["table1"], MAIN, "CAMO MAE") == ["0.032", "0.032", "+0.000"]


def test_a_trial_does_not_pass_for_a_reproduction(tmp_path: Path) -> None:
    run = save_run(tmp_path / "run", "ablation/spg", "engine.epochs=1", datasets={"CAMO": scores(0.5, 20)})
    sheet = tables(tmp_path)[0]["table2"]
    assert cell(sheet, "SPG", "source") == ["paper", "ours (1 seed)¹", "difference"]
    told = f"{run}; other settings than its experiment (in brackets): engine.epochs 1 (100)"
    assert sheet.footnotes == [f"{told}; 20 images of CAMO (published: 250)."]
    assert record(sheet, row="SPG", dataset="CAMO", metric="mae")["remark"] == sheet.footnotes[0]


def test_what_is_odd_in_print_is_noted(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "quickstart")
    sheet = tables(tmp_path)[0]["table3"]
    labels = [line[0] for line in sheet.lines if isinstance(line, list)]
    assert [label for label in labels if label[-1:] in "¹²³" and label] == [
        *("Minimal-SPG (P⁺ Direct)¹", "Minimal-SPG + PromptSpace¹", "None (no interaction)²", "w/o PSG (Refine kept)³")
    ]
    assert "changed places" in sheet.footnotes[0]
    assert "changed places" in record(sheet, row="Minimal-SPG + PromptSpace", dataset="CAMO", metric="mae")["remark"]


def test_the_same_row_and_seed_twice(tmp_path: Path) -> None:
    first = save_run(tmp_path / "a", "cod_r16", value=0.4)
    second = save_run(tmp_path / "b", "cod_r16", value=0.6)
    third = save_run(tmp_path / "c", "cod_r16", value=0.6, seed=1)
    sheets, kept_out = tables(tmp_path)
    assert cell(sheets["table1"], "IP-SAM (SAM2-L, r16)", "NC4K Fw")[1] == "0.500 ± 0.141"
    assert kept_out == [
        f"{second}: the same seed 0 as {first}, which comes first by path and is used "
        '(Table 1, row "IP-SAM (SAM2-L, r16)")'
    ]
    assert str(third) not in str(kept_out)
    assert sheets["other"].lines == []


def test_other_settings_are_not_averaged(tmp_path: Path) -> None:
    """Neither does a trial come before a run as it should be, though its path does."""
    trial = save_run(tmp_path / "a", "cod_r16", "engine.epochs=1", seed=1, value=0.9)
    run = save_run(tmp_path / "b", "cod_r16", value=0.5)
    sheets, (line,) = tables(tmp_path)
    assert cell(sheets["table1"], "IP-SAM (SAM2-L, r16)", "NC4K Fw")[:2] == ["0.863", "0.500"]
    assert sheets["table1"].footnotes == []
    told = f"{trial}: not of the same settings and test images as {run} (Table 1, row "
    assert line.startswith(told)
    assert [line[:5] for line in sheets["other"].lines] == [
        ["cod_r16", "ours (1 seed)¹", name, str(size), "0.900"] for name, size in COD.items()
    ]
    assert "engine.epochs 1 (100)" in sheets["other"].footnotes[0]


def test_other_numbers_of_images_are_not_averaged(tmp_path: Path) -> None:
    """CVC-ClinicDB is published with 62 test images and with 612."""
    save_run(tmp_path / "a", "kvasir_r32", datasets={"CVC-ClinicDB": scores(0.5, 612)})
    second = save_run(tmp_path / "b", "kvasir_r32", seed=1, datasets={"CVC-ClinicDB": scores(0.9, 62)})
    sheets, (line,) = tables(tmp_path)
    assert cell(sheets["table4"], "IP-SAM (Ours)", "CVC-ClinicDB mDice")[1] == "0.500"
    assert line.startswith(f"{second}: other numbers of images than {tmp_path / 'a'} (CVC-ClinicDB) (Table 4")
    assert [line[:5] for line in sheets["other"].lines] == [
        ["kvasir_r32", "ours (1 seed)", "CVC-ClinicDB", "62", "0.900"]
    ]


def test_other_numbers_of_images_than_any_of_the_others(tmp_path: Path) -> None:
    """The first run has nothing to compare; the other two differ."""
    save_run(tmp_path / "a", "kvasir_r32", datasets={"ETIS": scores(0.5, 196)})
    second = save_run(tmp_path / "b", "kvasir_r32", seed=1, datasets={"CVC-ClinicDB": scores(0.5, 612)})
    third = save_run(tmp_path / "c", "kvasir_r32", seed=2, datasets={"CVC-ClinicDB": scores(0.9, 62)})
    sheets, (line,) = tables(tmp_path)
    assert cell(sheets["table4"], "IP-SAM (Ours)", "CVC-ClinicDB mDice")[1] == "0.500"
    assert line.startswith(f"{third}: other numbers of images than {second} (CVC-ClinicDB) (Table 4")


def test_scored_maps_fill_the_rows_of_their_method(tmp_path: Path) -> None:
    datasets = {"CAMO": scores(0.5, 250), "ETIS": scores(0.6, 196), "mine": scores(0.7, 3)}
    path = save_methods(tmp_path / "scores", {"zoomnext": datasets, "SPG": datasets})
    sheets, kept_out = tables(tmp_path)
    assert kept_out == []
    assert cell(sheets["table1"], "ZoomNeXt [27]", "source") == ["paper", "ours (maps)¹", "difference"]
    assert cell(sheets["table1"], "ZoomNeXt [27]", "CAMO MAE") == ["0.041", "0.500", "+0.459"]
    assert cell(sheets["table1"], "ZoomNeXt [27]", "NC4K MAE") == ["0.030", "", ""]
    assert cell(sheets["table4"], "ZoomNeXt [27]", "ETIS mDice") == ["0.693", "0.600", "-0.093"]
    assert sheets["table1"].footnotes == sheets["table4"].footnotes == [f"Maps: {path}."]
    assert record(sheets["table1"], row="ZoomNeXt [27]", dataset="CAMO", metric="sm")["num_seeds"] is None
    assert len(lines_of(sheets["table2"], "SPG")) == 2  # whose rows are no methods
    assert [line[:3] for line in sheets["other"].lines] == [
        ["zoomnext", "ours (maps)¹", "mine"],
        *(["SPG", "ours (maps)¹", name] for name in datasets),
    ]


def test_a_run_goes_before_scored_maps(tmp_path: Path) -> None:
    path = save_methods(tmp_path / "a", {MAIN: {"CAMO": scores(0.9, 250)}})
    run = save_run(tmp_path / "b", "cod_r32", "engine.epochs=1")
    sheets, (line,) = tables(tmp_path)
    assert cell(sheets["table1"], MAIN, "CAMO Sm")[1] == "0.500"
    assert line == f'{path}: a run has this row: {run} (Table 1, row "{MAIN}")'
    assert sheets["other"].lines[0][:5] == [MAIN, "ours (maps)¹", "CAMO", "250", "0.900"]


def test_other_runs(tmp_path: Path) -> None:
    """By experiment and settings, over seeds; and what a reproduction was tested on beside the table's datasets."""
    for seed, value in enumerate((0.4, 0.6)):
        save_run(tmp_path / f"quickstart/seed{seed}", "quickstart", seed=seed, value=value)
    save_run(tmp_path / "quickstart/slow", "quickstart", "engine.lr=1e-4", value=0.3)
    again = save_run(tmp_path / "quickstart/twice", "quickstart", value=0.9)
    save_run(tmp_path / "run", "cod_r16", datasets={"CAMO": scores(0.5, 250), "mine": {"num_images": 3, "sm": 0.5}})
    sheets, (line,) = tables(tmp_path)
    sheet = sheets["other"]
    assert sheet.lines == [
        ["quickstart", "ours (2 seeds)", "synthetic", "100", *["0.500 ± 0.141"] * 6],
        ["quickstart", "ours (1 seed)¹", "synthetic", "100", *["0.300"] * 6],
        ["cod_r16", "ours (1 seed)", "mine", "3", "", "", "0.500", "", "", ""],
    ]
    assert line.startswith(f"{again}: the same seed 0 as {tmp_path / 'quickstart/seed0'}, which comes first by path")
    assert "engine.lr 0.0001 (0.0007)" in sheet.footnotes[0]
    assert all(list(entry) == list(sheet.fields) for entry in sheet.records)
    assert [entry["metric"] for entry in sheet.records if entry["run"] == "cod_r16"] == ["sm"]
    assert sheet.records[0] == {
        **{"run": "quickstart", "dataset": "synthetic", "metric": "mae", "mean": 0.5, "num_images": 100},
        **{"std": pytest.approx(0.1414213562373095), "num_seeds": 2, "remark": ""},
    }
