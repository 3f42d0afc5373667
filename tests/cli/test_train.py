"""The commands train, eval and params on small data."""

import json
import multiprocessing
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.paper_runs import CONFIGS, save_run
from support.small_run import TINY

from ipsam.tools.tables.ledger import paper_experiments
from ipsam.utils.weights import sha256_of


def test_protocol_reaches_masks_and_metrics(script: Callable[..., Any], pairs: Callable[[str], str]) -> None:
    """The protocol reaches the reading of masks and the metrics, is printed, and gets a folder of its own."""
    spec = pairs("own")
    for path in Path("own/masks").iterdir():
        cv2.imwrite(str(path), np.where(cv2.imread(str(path), 0) > 0, 200, 50).astype(np.uint8))
    assert script("train", *TINY, f"data.train=[{spec}]", f"data.test=[{spec}]").status == 0

    def scores(folder: str) -> Any:
        content = json.loads(Path("run/eval", folder, "metrics.json").read_text())
        return content["protocol"], content["datasets"]["own"]

    _, by_default = scores("")
    done = script("eval", "ckpt=run", "protocol={gt_threshold: 20, min_max: false}")
    assert done.status == 0
    assert "no min-max, ground truth > 20" in done.out
    protocol, changed = scores("min_max=false+gt_threshold=20")
    assert protocol["gt_threshold"] == 20
    assert changed["mdice"] > 2 * by_default["mdice"]  # all of the image is foreground now
    assert script("eval", "ckpt=run", "protocol={size: 32, binarise: true}").status == 0
    assert scores("size=32+binarise=true")[1]["mae"] != by_default["mae"]
    assert scores("")[1] == by_default


def test_params_prints_the_papers_numbers(script: Callable[..., Any]) -> None:
    done = script("params", "experiments=[cod_t_r32]")
    assert done.status == 0
    assert "16.92 | 16.92 | +0.00" in " ".join(done.out.split())
    assert "45.53" in done.out
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("experiment", "words"),
    [
        pytest.param("kvasir_micro", "training pairs: 900 (the published number", marks=pytest.mark.slow),
        ("baseline/sam2", "nothing to train: the model is only evaluated"),
    ],
)
def test_plan_starts_nothing(script: Callable[..., Any], experiment: str, words: str) -> None:
    done = script("train", f"experiment={experiment}", "plan=true", "model.backbone.variant=micro", "engine.cpu=true")
    assert done.status == 0, done.error
    assert words in done.out
    assert not list(Path.cwd().iterdir())


def test_params_and_tables_know_experiments_of_config_dir(script: Callable[..., Any]) -> None:
    """By name, among those of the paper, and as what runs are compared with."""
    Path("my, dir/experiment").mkdir(parents=True)
    paper = 'paper: [{table: 2, row: "SPG"}]'
    Path("my, dir/experiment/mine.yaml").write_text(f"# @package _global_\ndefaults: [cod_t_r32]\n{paper}\n")
    done = script("params", "--config-dir", "my, dir", "experiments=[mine]")
    assert done.status == 0, done.err
    assert "mine | 2: SPG" in " ".join(done.out.split())
    assert set(paper_experiments((CONFIGS, Path("my, dir")))) == {*paper_experiments(CONFIGS), "mine"}
    save_run(Path("outputs/mine/seed0"), "cod_t_r32", "model.decoder.depth=1", name="mine")
    assert "no such experiment: mine" in script("tables").out
    known = script("tables", "--config-dir", "my, dir").out
    assert "no such experiment" not in known
    assert "model.decoder.depth 1 (2)" in known


def test_params_leaves_a_row_blank_whose_extra_is_missing(
    script: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ultralytics", "ultralytics.nn.tasks"):
        monkeypatch.setitem(sys.modules, name, None)
    done = script("params", "experiments=[baseline/yolov8_sam2,cod_t_r32]")
    assert done.status == 0, done.error
    text = " ".join(done.out.split())
    assert "| baseline/yolov8_sam2 | 1: YOLOv8+SAM2(Auto) | | 0.00 | | | 268.10 | |" in text
    assert "16.92 | 16.92 | +0.00" in text
    assert "- baseline/yolov8_sam2: not counted, as model.detector: YOLOv8 needs: pip install 'ultralytics" in text


def test_run_resumes_and_is_evaluated_on_other_sets(script: Callable[..., Any], pairs: Callable[[str], str]) -> None:
    """Folders of one's own, part of them held out, two workers; evaluating another set overwrites nothing."""
    given = [*TINY, f"data.train=[{pairs('own')}]", f"data.test=[{pairs('other')}]", "data.val_fraction=0.34"]
    done = script("train", *given, "engine.num_workers=2")
    assert done.status == 0
    assert "| other " in done.out
    assert Path("run/checkpoints/best/model.safetensors").is_file()
    before = Path("run/eval/metrics.json").read_bytes()
    assert "(the best so far)" in Path("run/train.log").read_text()

    again = script("train", *given, "resume=true")
    assert again.status == 0
    assert Path("run/eval/metrics.json").read_bytes() == before

    third = script("eval", "ckpt=run/checkpoints/best", f"data.test=[{pairs('third')}]", "maps=true")
    assert third.status == 0
    assert Path("run/eval/metrics.json").read_bytes() == before
    for content in (before, Path("run/eval/best/third/metrics.json").read_bytes()):
        assert json.loads(content)["skipped_steps"] == 0
    maps = Path("run/eval/best/third/maps/third")
    assert sorted(path.name for path in maps.iterdir()) == ["a.png", "b.png", "c.png"]
    assert str(maps.parent) in third.out


def test_run_starts_from_anothers_weights_and_grows(script: Callable[..., Any]) -> None:
    """Before the first step it scores as the other did; once begun it no longer needs the other."""
    given = [*TINY, "engine.fast=false"]
    assert script("train", *given).status == 0
    second = [*given, "run_dir=second", "init=run", "engine.references=true", "engine.lr=2e-3", "resume=true"]
    done = script("train", *second)
    assert done.status == 0, done.err
    tables = [Path(folder, "per_image.csv").read_text() for folder in ("run/eval", "second/eval/references/untrained")]
    assert tables[0] == tables[1]
    record = json.loads(Path("second/environment.jsonl").read_text())["init"]
    assert record["sha256"] == sha256_of(Path("run/checkpoints/last/model.safetensors"))
    shutil.rmtree("run")
    message = script("train", *second, "init=micro").error
    assert "second was begun with other settings (init: run -> micro): resume with the same" in message
    done = script("train", *second, "engine.epochs=2")
    assert done.status == 0, done.err
    assert "trained 2 epochs, 2 steps" in Path("second/train.log").read_text()
    message = script("train", *second, "allow_change=[engine.epochs]").error
    assert "error: engine.epochs=1 is fewer than the 2 that the run in second has begun" in message


def cut_off(path: str) -> None:
    Path(path).write_bytes(Path(path).read_bytes()[:-2000])


@pytest.mark.parametrize(
    ("damage", "num_workers", "words"),
    [
        (
            lambda: Path("own/masks/b.png").unlink(),
            0,
            ["no mask of the same stem", "b.jpg", "data.exclude=[own/train/b]"],
        ),
        (
            lambda: cv2.imwrite("own/masks/b.png", np.zeros((9, 20), np.uint8)),
            0,
            ["b.jpg 64x64 with mask 9x20", "resize"],
        ),
        (lambda: cut_off("own/images/b.jpg"), 0, ["own/images/b.jpg: broken", "leave it out"]),
        pytest.param(
            lambda: cut_off("own/images/b.jpg"), 1, ["own/images/b.jpg: broken", "leave it out"], marks=pytest.mark.slow
        ),
        (lambda: Path("own/images/b.jpg").write_bytes(b"\xff\xd8\xff"), 0, ["own/train: 1 of 3 pairs", "b.jpg"]),
    ],
    ids=["no mask", "another size", "cut off", "cut off, read by a worker", "no header"],
)
def test_unusable_files_are_named(
    script: Callable[..., Any],
    pairs: Callable[[str], str],
    damage: Callable[[], Any],
    num_workers: int,
    words: list[str],
) -> None:
    """A JPEG that was cut off behind its header is found when training reads it; all others before."""
    given = [*TINY, f"data.train=[{pairs('own')}]", f"engine.num_workers={num_workers}"]
    damage()
    message = script("train", *given).error
    assert not multiprocessing.active_children()
    assert [word for word in words if word not in message] == [], message
    if "data.exclude=[own/train/b]" in words:
        assert script("train", *given, "data.exclude=[own/train/b]").status == 0


def test_existing_run_is_kept(script: Callable[..., Any]) -> None:
    assert script("train", *TINY).status == 0
    weights = Path("run/checkpoints/last/model.safetensors")
    before = weights.read_bytes()
    message = script("train", *TINY).error
    assert "error: run already holds a run: continue it with resume=true, replace it with overwrite=true" in message
    message = script("train", *TINY, "resume=true", "engine.lr=0.5").error
    assert "run was begun with other settings (engine.lr: " in message
    message = script("train", *TINY, "overwrite=true", "engine.groups=[{match: loras}]").error
    assert "error: engine.groups[0]: match='loras' finds no trainable parameter" in message
    message = script("train", *TINY, "overwrite=true", "engine.watch_test=1", "data.test=[]").error
    assert "error: engine.watch_test=1 evaluates the test sets, and data.test is empty: " in message
    message = script("train", *TINY, "overwrite=true", "engine.memory_gb=0.0001").error
    assert "error: engine.memory_gb=0.0001 is too small: " in message
    assert weights.read_bytes() == before
    assert script("train", *TINY, "overwrite=true", "engine.lr=0.5").status == 0
    assert weights.read_bytes() != before
