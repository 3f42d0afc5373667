"""Statements of the paper's text beside the runs that measure them."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.paper_runs import CONFIGS, save_run

from ipsam.model.baselines.detector import NOTHING_FOUND
from ipsam.tools.tables.printed import statements
from ipsam.tools.tables.run_scores import find_scores
from ipsam.tools.tables.sheet import Sheet
from ipsam.tools.tables.text_sheet import text_sheet

FALLBACKS, SPEED, SEEDS = 2, 3, 4


def sheet_of(folder: Path) -> Sheet:
    return text_sheet(find_scores(folder, CONFIGS)[0])


def add_remarks(run: Path, remarks: object) -> None:
    path = run / "eval" / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"remarks": remarks}))


def test_statements_without_a_run_are_blank(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "quickstart")
    sheet = sheet_of(tmp_path)
    assert [line[2:4] for line in sheet.lines] == [[one.paper, ""] for one in statements()]
    assert sheet.lines[SPEED][2:] == ["29 against 35 (0.83)", "", "ipsam benchmark inference"]
    assert all(entry["ours_mean"] is None for entry in sheet.records)
    assert [entry["remark"] for entry in sheet.records] == [one.remark for one in statements()]


def test_runs_stand_beside_their_statements(tmp_path: Path) -> None:
    yolo = save_run(tmp_path / "yolo", "baseline/yolov8_sam2")
    add_remarks(yolo, {"COD10K": {NOTHING_FOUND: 709, "other": 3}, "CAMO": {NOTHING_FOUND: 1}})
    for seed, value in enumerate((0.016, 0.018, 0.020)):
        save_run(tmp_path / f"seed{seed}", "cod_r32", seed=seed, value=value)
    sheet = sheet_of(tmp_path)
    assert sheet.lines[FALLBACKS][2:] == ["35.4 %", "35.0 %", "baseline/yolov8_sam2, ours (1 seed)"]
    assert sheet.lines[SEEDS][2:] == ["blank", "0.018 ± 0.002", "cod_r32, ours (3 seeds)"]
    assert sheet.records[FALLBACKS]["ours_mean"] == pytest.approx(100 * 709 / 2026)
    assert [sheet.records[SEEDS][key] for key in ("num_seeds", "num_images")] == [3, 2026]


@pytest.mark.parametrize("remarks", [None, {}, [1], {"COD10K": {NOTHING_FOUND: "many"}}, {"else": 1}])
def test_odd_remarks_count_as_none(tmp_path: Path, remarks: Any) -> None:
    add_remarks(save_run(tmp_path / "yolo", "baseline/yolov8_sam2"), remarks)
    assert sheet_of(tmp_path).lines[FALLBACKS][3] == "0.0 %"
