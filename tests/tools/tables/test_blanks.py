"""Runs of ``experiment/blank`` beside those of ``cod_r32``."""

from pathlib import Path
from typing import Any

import pytest
from support.paper_runs import CONFIGS, save_run, scores

from ipsam.tools.tables.changes import base_of
from ipsam.tools.tables.listing import blank_sheet
from ipsam.tools.tables.run_scores import find_scores
from ipsam.tools.tables.sheet import Sheet


def sheet_of(folder: Path) -> tuple[Sheet, list[str]]:
    results, _ = find_scores(folder, CONFIGS)
    return blank_sheet([result for result in results if base_of(result.name)], results)


def lines(sheet: Sheet) -> list[Any]:
    """Return the lines up to the first two metrics, MAE and Fw."""
    return [line[:7] for line in sheet.lines]


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("blank/lr_5e-5", "cod_r32"),
        ("toy/blank/lr_5e-5", "toy/cod_r32"),
        ("cod_r32", None),
        ("blank", None),
        ("my_blank/lr", None),
    ],
)
def test_base(name: str, base: str | None) -> None:
    assert base_of(name) == base


def test_blanks_stand_beside_the_base_on_the_sets_that_were_run(tmp_path: Path) -> None:
    for seed, value in enumerate((0.4, 0.6)):
        save_run(tmp_path / f"base{seed}", "cod_r32", seed=seed, value=value)
    two = {"CAMO": scores(0.5, 250, mae=0.031), "NC4K": scores(0.7, 4121), "mine": scores(0.5, 3)}
    run = save_run(tmp_path / "a", "blank/lr_5e-5", datasets=two)
    again = save_run(tmp_path / "b", "blank/lr_5e-5", datasets=two)
    save_run(tmp_path / "c", "blank/prompts_half", datasets={"CAMO": scores(0.5, 200)})
    sheet, (line,) = sheet_of(tmp_path)
    assert line.startswith(f"{again}: the same seed 0 as {run}")
    rate, halves = "engine.lr 5e-05 (0.0001)", "engine.loss.fg 0.5 (1.0), engine.loss.bg 0.5 (1.0)"
    assert lines(sheet) == [
        ["blank/lr_5e-5", "ours (1 seed)", rate, "CAMO", "250", "0.031", "0.500"],
        ["", "difference", "", "", "", "-0.469", "+0.000"],
        ["blank/lr_5e-5", "ours (1 seed)", rate, "NC4K", "4121", "0.700", "0.700"],
        ["", "difference", "", "", "", "+0.200", "+0.200"],
        ["blank/lr_5e-5", "ours (1 seed)", rate, "mine", "3", "0.500", "0.500"],
        ["blank/prompts_half", "ours (1 seed)¹", halves, "CAMO", "200", "0.500", "0.500"],  # other images
    ]
    assert sheet.records[0] == {
        **{"run": "blank/lr_5e-5", "changed": rate, "dataset": "CAMO", "metric": "mae", "mean": 0.031, "std": None},
        **{"num_seeds": 1, "num_images": 250, "base_mean": 0.5, "difference": pytest.approx(-0.469), "remark": ""},
    }
    assert [entry["difference"] for entry in sheet.records if entry["dataset"] == "mine"] == [None] * 6


def test_altered_blanks_say_all_that_they_change(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "blank/mask_first", "engine.epochs=20")
    sheet, _ = sheet_of(tmp_path)
    assert sheet.lines[0][1:3] == ["ours (1 seed)¹", "model.mask_reduction first (mean), engine.epochs 20 (100)"]
    assert "engine.epochs 20 (100)" in sheet.footnotes[0]


def test_release_of_sam2_is_a_change(tmp_path: Path) -> None:
    """Moved weights are none."""
    save_run(tmp_path / "run", "blank/sam2_0", "paths.checkpoints=/weights")
    save_run(tmp_path / "base", "cod_r32", "paths.checkpoints=/weights")
    sheet, _ = sheet_of(tmp_path)
    assert sheet.lines[0][1:3] == ["ours (1 seed)", "model.backbone.checkpoint SAM 2.0 (pretrained)"]


def test_blanks_at_toy_scale_are_compared_at_toy_scale(tmp_path: Path) -> None:
    for name, value in (("cod_r32", 0.4), ("blank/mask_first", 0.5)):
        save_run(tmp_path / name, name, "+scale=toy", name=f"toy/{name}", value=value)
    save_run(tmp_path / "full", "cod_r32", datasets={"synthetic": scores(0.9, 100)})
    sheet, _ = sheet_of(tmp_path)
    first = ["toy/blank/mask_first", "ours (1 seed)", "model.mask_reduction first (mean)", "synthetic", "100"]
    assert lines(sheet)[0][:5] == first
    assert lines(sheet)[1][5:] == ["+0.100", "+0.100"]


@pytest.mark.parametrize(("name", "scale"), [("lr_5e-5", "toy"), ("size_352", "short")])
def test_blanks_that_their_scale_undoes_say_so(tmp_path: Path, name: str, scale: str) -> None:
    save_run(tmp_path / "run", f"blank/{name}", f"+scale={scale}", name=f"{scale}/blank/{name}")
    sheet, _ = sheet_of(tmp_path)
    assert sheet.lines[0][:3] == [f"{scale}/blank/{name}", "ours (1 seed)", "nothing: the scale sets the same keys"]


def test_no_clipping_is_written_as_on_the_command_line(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "blank/clip_none")
    assert sheet_of(tmp_path)[0].lines[0][2] == "engine.clip .inf (1.0)"


def test_blank_without_a_known_base_says_so(tmp_path: Path) -> None:
    save_run(tmp_path / "run", "blank/lr_5e-5", name="old/blank/lr_5e-5")
    assert sheet_of(tmp_path)[0].lines[0][2] == "no such experiment: old/cod_r32"
