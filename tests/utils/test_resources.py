"""Folders that come with ipsam are found wherever its wheel is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIND = "from ipsam.utils.resources import CHECKPOINTS, CONFIGS; print(CHECKPOINTS, CONFIGS)"


def test_installed_package_holds_configs_and_models(tmp_path: Path) -> None:
    """By ``pip install --target``; ``--user`` installs the same files elsewhere."""
    wheel = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    (built,) = wheel.build(directory=str(tmp_path / "wheels"), versions=["standard"])
    target = tmp_path / "target"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(target), built]
    subprocess.run(install, check=True)
    found = subprocess.run(
        [sys.executable, "-c", FIND],
        env={"PYTHONPATH": str(target)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == [str(target / "ipsam" / name) for name in ("checkpoints", "configs")]
    shipped = [path for path in (ROOT / "checkpoints").glob("*/*") if (path.parent / "config.json").is_file()]
    models = [str(path.relative_to(ROOT)) for path in shipped]
    assert {f"checkpoints/micro/{name}" for name in ("model.safetensors", "config.json", "README.md")} <= set(models)
    for name in (*models, "configs/train.yaml", "py.typed"):
        assert (target / "ipsam" / name).is_file()
