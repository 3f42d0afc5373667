"""Training and evaluation, each in its own process."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest
from support.small_run import SCRIPTS, TINY

OPTIONS = [option for option in TINY if "references" not in option and "run_dir" not in option]


def run(name: str, *arguments: str, folder: Path, launcher: Sequence[str] = ()) -> str:
    command = [sys.executable, *launcher, str(SCRIPTS / f"{name}.py"), *arguments]
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def row(table: str, method: str) -> list[str]:
    (line,) = [line for line in table.splitlines() if f"| {method} " in " ".join(line.split()) + " "]
    return [cell.strip() for cell in line.split("|")[1:-1]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run in outputs/quickstart/seed0, and what training printed."""
    folder = tmp_path_factory.mktemp("work")
    return folder, run("train", *OPTIONS, "data.synthetic.num_test=3", folder=folder)


def test_training_writes_all_files(trained: tuple[Path, str]) -> None:
    folder, printed = trained
    assert [path.name for path in folder.iterdir()] == ["outputs"]
    found = folder / "outputs" / "quickstart" / "seed0"
    files = {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
    assert files >= {
        "config.yaml",
        "environment.jsonl",
        "train.log",
        *(f"checkpoints/step_00000001/{name}" for name in ("model.safetensors", "config.yaml", "training.pt")),
        *(f"eval/{name}" for name in ("metrics.json", "per_image.csv", "synthetic.png")),
        *(f"eval/references/{name}/metrics.json" for name in ("untrained", "best_constant_map")),
    }
    assert any(name.startswith("tensorboard/events") for name in files)
    log = (found / "train.log").read_text(encoding="utf-8")
    assert re.search(r"epoch 1 of 1, step 1: loss [\d.]+; [\d.]+ s a step, \d+% of it waiting for data", log)
    scores = json.loads((found / "eval" / "metrics.json").read_text())["datasets"]["synthetic"]
    assert row(printed, "model")[:4] == ["synthetic", "model", "3", f"{scores['mae']:.4f}"]
    assert row(printed, "untrained")[0] == row(printed, "best constant map")[0] == "synthetic"


@pytest.mark.slow
def test_evaluation_repeats_to_the_byte(trained: tuple[Path, str]) -> None:
    folder, printed = trained
    again = run("eval", "ckpt=outputs/quickstart/seed0", "maps=true", "out=again", folder=folder)
    assert row(again, "model") == row(printed, "model")
    for name in ("metrics.json", "per_image.csv", "synthetic.png"):
        assert (folder / "again" / name).read_bytes() == (folder / "outputs/quickstart/seed0/eval" / name).read_bytes()
    maps = sorted((folder / "again" / "maps" / "synthetic").iterdir())
    assert [path.name for path in maps] == [f"scene_000_0000{index}.png" for index in range(3)]
    assert cv2.imread(str(maps[0]), cv2.IMREAD_UNCHANGED).shape == (64, 64)


@pytest.mark.slow
def test_torchrun_trains_and_resumes(tmp_path: Path) -> None:
    """Without a word of the device. Only the main process prints. Weights: tests/engine/train/test_processes.py."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    given = [
        *OPTIONS,
        "engine.cpu=false",
        "engine.epochs=2",
        "data.synthetic.num_train=16",
        "data.val_fraction=0.25",
        "run_dir=two",
    ]
    for more in ([], ["resume=true"]):
        printed = run("train", *given, *more, folder=tmp_path, launcher=launcher)
        assert printed.count(" model |") == 1
    log = (tmp_path / "two/train.log").read_text(encoding="utf-8")
    assert log.count("run folder: ") == log.count("synthetic/test: ") == 2  # once each time
