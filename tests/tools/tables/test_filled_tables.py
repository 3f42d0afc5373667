"""The paper's tables filled with means, deviations and differences; and the runs that may be averaged."""

from pathlib import Path
from typing import Any

import pytest
from support.paper_runs import COD, CONFIGS, save_methods, save_run, scores

from ipsam.engine.evaluate.curve import add_epoch
from ipsam.tools.tables.fill import fill_paper
from ipsam.tools.tables.printed import paper
from ipsam.tools.tables.run_scores import find_scores
from ipsam.tools.tables.sheet import Sheet

MAIN = "IP-SAM (SAM2-L, r32)"
R16 = "IP-SAM (SAM2-L, r16)"


def tables(folder: Path) -> tuple[dict[str, Sheet], list[str]]:
    """Return the sheets by name, and the lines on results that were kept out of them."""
    results, left_out = find_scores(folder, CONFIGS)
    assert left_out == []
    sheets, kept_out = fill_paper(results)
    assert [sheet.name for sheet in sheets] == ["table1", "table2", "table3", "table4", "text", "blank", "other"]
    return {sheet.name: sheet for sheet in sheets}, kept_out


def cell(sheet: Sheet, label: str, column: str) -> list[str]:
    """Return what stands under a head such as ``CAMO MAE`` in a row's lines: printed, ours and, if any, difference."""
    heads = [f"{group} {head}".strip() for group, head in sheet.columns]
    lines = [line for line in sheet.lines if isinstance(line, list)]
    start = next(index for index, line in enumerate(lines) if line[0] == label)
    rest = [line for line in lines[start + 1 : start + 3] if not line[0]]
    return [line[heads.index(column)] for line in (lines[start], *rest)]


def record(sheet: Sheet, **keys: Any) -> dict[str, Any]:
    """Return the one record with these values."""
    (found,) = [entry for entry in sheet.records if all(entry[key] == value for key, value in keys.items())]
    return dict(found)


def others(sheets: dict[str, Sheet], width: int = 5) -> list[Any]:
    return [line[:width] for line in sheets["other"].lines]


def test_three_seeds_fill_every_row_of_the_main_model(tmp_path: Path) -> None:
    for seed, mae in enumerate((0.030, 0.032, 0.037)):
        datasets = {name: scores(0.9, size, mae=mae) for name, size in COD.items()}
        run = save_run(tmp_path / f"cod_r32/seed{seed}", "cod_r32", seed=seed, datasets=datasets)
        (run / "environment.jsonl").write_text('{"parameters": {"param": 233.9712, "t_param": 21.2567}}\n')
    sheets, kept_out = tables(tmp_path)
    assert kept_out == []
    sheet = sheets["table1"]
    assert cell(sheet, MAIN, "source") == ["paper", "ours (3 seeds)", "difference"]
    assert cell(sheet, MAIN, "CAMO Fw") == ["0.878", "0.900 ± 0.000", "+0.022"]
    assert cell(sheet, MAIN, "CHAMELEON Sm") == ["0.920", "0.900 ± 0.000", "-0.020"]
    assert cell(sheet, MAIN, "Param (M)") == ["237.08", "233.97", "-3.11"]
    rows = [("table1", MAIN), ("table2", "SPG + PSG + Lat. + Ref.")]
    for name, label in [*rows, *(("table3", labels[-1].label) for _, labels in paper()[3].sections)]:
        assert cell(sheets[name], label, "CAMO MAE") == ["0.032", "0.033 ± 0.004", "+0.001"]
        assert cell(sheets[name], label, "COD10K MAE") == ["0.017", "0.033 ± 0.004", "+0.016"]
        assert cell(sheets[name], label, "T-Param (M)") == ["21.26", "21.26", "+0.00"]
    assert sheets["other"].lines == sheets["other"].records == []
    found = record(sheet, row=MAIN, dataset="CAMO", metric="mae")
    assert found["ours_mean"] == pytest.approx(0.033, abs=1e-15)
    assert found["ours_std"] == pytest.approx(0.0036055512754639925)  # by n - 1
    assert found["difference"] == pytest.approx(0.001, abs=1e-15)
    assert (found["printed"], found["num_seeds"], found["num_images"], found["remark"]) == ("0.032", 3, 250, "")
    counts = record(sheet, row=MAIN, metric="t_param")
    assert [counts[key] for key in ("dataset", "printed", "ours_mean", "num_seeds")] == ["", "21.26", 21.2567, None]


def test_best_epoch_is_a_footnote_beside_the_last(tmp_path: Path) -> None:
    """By S-measure, and the mean over the runs that recorded a curve."""
    curves = {0: {1: 0.5, 2: 0.7, 3: 0.6}, 1: {1: 0.9, 2: 0.8, 3: 0.6}, 2: {}}
    for seed, curve in curves.items():
        run = save_run(tmp_path / f"run{seed}", "cod_r32", seed=seed, value=0.6)
        for epoch, sm in curve.items():
            values = {name: scores(0.25, size, sm=sm) for name, size in COD.items() if name != "NC4K"}
            add_epoch(run / "eval" / "curve.csv", epoch, {"camo" if n == "CAMO" else n: of for n, of in values.items()})
    sheet = tables(tmp_path)[0]["table1"]
    assert cell(sheet, MAIN, "CAMO Sm")[1] == "0.600 ± 0.000"  # of the last epoch
    best = "MAE 0.250, Fw 0.250, Sm 0.800, Em 0.250 (epoch 2, 1)"
    text = f"best by Sm on each test set: CAMO {best}; CHAMELEON {best}; COD10K {best}."
    (footnote,) = [note for note in sheet.footnotes if "last epoch" in note]
    assert footnote.endswith(text)
    assert cell(sheet, MAIN, "source")[1] == f"ours (3 seeds){sheet.mark(footnote)}"


def test_rows_without_a_run_are_blank(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "quickstart")
    sheets, _ = tables(tmp_path)
    for number, table in paper().items():
        sheet = sheets[f"table{number}"]
        lines = [line for line in sheet.lines if isinstance(line, list)]
        assert len(lines) == 2 * len(table.rows)
        assert all(line[:2] == ["", "ours"] and not any(line[2:]) for line in lines[1::2])
        titles = [title for title, _ in table.sections if title]
        assert [line for line in sheet.lines if isinstance(line, str)] == titles
        scored = [entry for entry in sheet.records if entry["dataset"]]
        assert len(scored) == len(table.rows) * len(table.datasets) * len(table.metrics)
        for entry in sheet.records:
            assert entry["ours_mean"] is entry["ours_std"] is entry["difference"] is entry["num_seeds"] is None
            assert list(entry) == list(sheet.fields)
    marked = [line[0] for line in sheets["table3"].lines if isinstance(line, list) and line[0][-1:] in set("¹²³")]
    assert marked == [  # contradictions in print
        *("Minimal-SPG (P⁺ Direct)¹", "Minimal-SPG + PromptSpace¹", "None (no interaction)²", "w/o PSG (Refine kept)³")
    ]
    assert "changed places" in sheets["table3"].footnotes[0]
    swapped = record(sheets["table3"], row="Minimal-SPG + PromptSpace", dataset="CAMO", metric="mae")
    assert "changed places" in swapped["remark"]


def test_missing_datasets_and_metrics_are_blank(tmp_path: Path) -> None:
    camo = scores(0.5, 250, mae=0.03199)
    save_run(tmp_path / "a", "cod_r32", datasets={"CAMO": camo, "NC4K": {"num_images": 4121, "sm": 0.5}})
    save_run(tmp_path / "b", "cod_r32", seed=1, datasets={"CAMO": scores(0.6, 250, mae=0.03199)})
    sheet = tables(tmp_path)[0]["table1"]
    assert cell(sheet, MAIN, "source")[1] == "ours (1 to 2 seeds)"
    assert cell(sheet, MAIN, "CAMO Sm")[1:] == ["0.550 ± 0.071", "-0.362"]
    assert cell(sheet, MAIN, "CAMO MAE")[1:] == ["0.032 ± 0.000", "+0.000"]  # no -0.000
    assert cell(sheet, MAIN, "NC4K Sm")[1:] == ["0.500", "-0.411"]
    assert cell(sheet, MAIN, "NC4K Em")[1:] == cell(sheet, MAIN, "COD10K MAE")[1:] == ["", ""]
    assert cell(sheet, MAIN, "Param (M)")[1:] == ["", ""]
    assert record(sheet, row=MAIN, dataset="NC4K", metric="sm")["num_seeds"] == 1


def test_repeated_seed_is_left_out(tmp_path: Path) -> None:
    first = save_run(tmp_path / "a", "cod_r16", value=0.4)
    second = save_run(tmp_path / "b", "cod_r16", value=0.6)
    save_run(tmp_path / "c", "cod_r16", value=0.6, seed=1)
    sheets, kept_out = tables(tmp_path)
    assert cell(sheets["table1"], R16, "NC4K Fw")[1] == "0.500 ± 0.141"
    reason = f"the same seed 0 as {first}, which comes first by path and is used"
    assert kept_out == [f'{second}: {reason} (Table 1, row "{R16}")']
    assert others(sheets) == []


def test_other_settings_are_not_averaged(tmp_path: Path) -> None:
    """The trial goes last, although its path comes first."""
    trial = save_run(tmp_path / "a", "cod_r16", "engine.epochs=1", seed=1, value=0.9)
    run = save_run(tmp_path / "b", "cod_r16", value=0.5)
    sheets, (line,) = tables(tmp_path)
    assert cell(sheets["table1"], R16, "NC4K Fw")[:2] == ["0.863", "0.500"]
    assert not any(str(tmp_path) in note for note in sheets["table1"].footnotes)
    found = "other settings than {run} (in brackets): engine.epochs 1 (100)"
    assert line.startswith(f"{trial}: {found.format(run=run)} (Table 1, row ")
    assert others(sheets) == [["cod_r16", "ours (1 seed)¹", name, str(size), "0.900"] for name, size in COD.items()]
    assert "engine.epochs 1 (100)" in sheets["other"].footnotes[0]


def test_other_numbers_of_images_are_not_averaged(tmp_path: Path) -> None:
    """CVC-ClinicDB is published with 62 test images and with 612; the first run has nothing to compare."""
    save_run(tmp_path / "a", "kvasir_r32", datasets={"ETIS": scores(0.5, 196)})
    second = save_run(tmp_path / "b", "kvasir_r32", seed=1, datasets={"CVC-ClinicDB": scores(0.5, 612)})
    third = save_run(tmp_path / "c", "kvasir_r32", seed=2, datasets={"CVC-ClinicDB-62": scores(0.9, 62)})
    sheets, (line,) = tables(tmp_path)
    assert cell(sheets["table4"], "IP-SAM (Ours)", "CVC-ClinicDB mDice")[1] == "0.500"
    assert line.startswith(f"{third}: other numbers of images than {second} (in brackets): CVC-ClinicDB 62 (612) (T")
    assert others(sheets) == [["kvasir_r32", "ours (1 seed)", "CVC-ClinicDB", "62", "0.900"]]


def test_number_of_images_is_named_where_several_are_in_use(tmp_path: Path) -> None:
    """The shipped experiment tests on all 612 images of CVC-ClinicDB; the 62 stand in the column without them."""
    both = {"CVC-ClinicDB-62": scores(0.9, 62), "CVC-ClinicDB-612": scores(0.5, 612)}
    save_run(tmp_path / "both", "kvasir_r32", datasets=both)
    save_run(
        tmp_path / "few",
        "kvasir/mdsam",
        datasets={"Kvasir": scores(0.9, 100), "CVC-ClinicDB-62": both["CVC-ClinicDB-62"]},
    )
    save_run(tmp_path / "shipped", "kvasir/sam_adapter")
    sheets, kept_out = tables(tmp_path)
    assert kept_out == []
    sheet = sheets["table4"]
    for label, source, score, note in (
        ("IP-SAM (Ours)", "ours (1 seed)³", "0.500", "Ours: 612 images of CVC-ClinicDB."),
        ("MDSAM [7]", "ours (1 seed)²", "0.900", "Ours: 100 images of Kvasir-SEG and 62 images of CVC-ClinicDB."),
        (
            "SAM-Adapter [4]",
            "ours (1 seed)¹",
            "0.500",
            "Ours: 100 images of Kvasir-SEG and 612 images of CVC-ClinicDB.",
        ),
    ):
        assert cell(sheet, label, "source")[1] == source
        assert cell(sheet, label, "CVC-ClinicDB mDice")[1] == score
        assert note in sheet.footnotes
    assert others(sheets) == [["kvasir_r32", "ours (1 seed)", "CVC-ClinicDB-62", "62", "0.900"]]


def test_maps_fill_the_rows_of_their_method(tmp_path: Path) -> None:
    datasets = {"CAMO": scores(0.5, 250), "ETIS": scores(0.6, 196), "mine": scores(0.7, 3)}
    path = save_methods(tmp_path / "scores", {"zoomnext": datasets, "SPG": datasets})
    sheets, kept_out = tables(tmp_path)
    assert kept_out == []
    assert cell(sheets["table1"], "ZoomNeXt [27]", "source") == ["paper", "ours (maps)¹", "difference"]
    assert cell(sheets["table1"], "ZoomNeXt [27]", "CAMO MAE") == ["0.041", "0.500", "+0.459"]
    assert cell(sheets["table1"], "ZoomNeXt [27]", "NC4K MAE") == ["0.030", "", ""]
    assert cell(sheets["table4"], "ZoomNeXt [27]", "ETIS mDice") == ["0.693", "0.600", "-0.093"]
    assert sheets["table1"].footnotes[0] == sheets["table4"].footnotes[0] == f"Maps: {path}."
    assert record(sheets["table1"], row="ZoomNeXt [27]", dataset="CAMO", metric="sm")["num_seeds"] is None
    assert cell(sheets["table2"], "SPG", "source") == ["paper", "ours"]  # its rows are not methods
    spg = [["SPG", "ours (maps)¹", name] for name in datasets]
    assert others(sheets, 3) == [["zoomnext", "ours (maps)¹", "mine"], *spg]


def test_runs_go_before_maps(tmp_path: Path) -> None:
    path = save_methods(tmp_path / "a", {MAIN: {"CAMO": scores(0.9, 250)}})
    run = save_run(tmp_path / "b", "cod_r32", "engine.epochs=1")
    sheets, (line,) = tables(tmp_path)
    assert cell(sheets["table1"], MAIN, "CAMO Sm")[1] == "0.500"
    assert line == f'{path}: a run has this row: {run} (Table 1, row "{MAIN}")'
    assert others(sheets)[0] == [MAIN, "ours (maps)¹", "CAMO", "250", "0.900"]


def test_other_runs_are_grouped_by_experiment_and_settings(tmp_path: Path) -> None:
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
