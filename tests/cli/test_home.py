"""``~/`` stands for the home folder in every path, where a shell does not replace it: ``'output=~/masks'``, in code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.figure_runs import write_set
from support.saved_maps import write_maps, write_masks
from support.small_run import TINY

import ipsam


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set an empty home folder; check at the end that none is called ``~``."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield tmp_path / "home"
    assert not list(tmp_path.rglob("*~*"))


@pytest.mark.parametrize(
    ("command", "arguments", "written"),
    [
        ("predict", ["input=~/own/images", "output=~/masks"], "masks/map/a.png"),
        ("predict", ['input="~/own/images/*.png"', "output='~/masks'"], "masks/map/d.png"),
        ("score", ["maps=~/One", "masks=~/CAMO", "out=~/scores", "num_workers=0"], "scores/metrics.json"),
        ("check_data", ["data.train=[{name: own, images: ~/own/images, masks: ~/own/masks}]", "data.test=[]",
         "num_workers=0", "out=~/found"], "found/check_data.json"),
        ("train", [*TINY, "paths.outputs=~/runs", "run_dir='${paths.outputs}/mine'"], "runs/mine/eval/metrics.json"),
        ("params", ["experiments=[quickstart]"], ""),
    ],
)  # fmt: skip
def test_commands(
    script: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch, command: str, arguments: list[str],
    written: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(home)
    write_set("own")
    write_masks("CAMO")
    write_maps("One")
    monkeypatch.chdir(home.parent)
    done = script(command, *arguments)
    assert "Traceback" not in done.err
    assert (home / written).exists(), done.err


def test_library(home: Path) -> None:
    model = ipsam.load("micro", device="cpu")
    write_set("own")
    Path("own").rename(home / "own")
    assert model.predict("~/own/images/a.png").save("~/out/a.png") == home / "out/a.png"
    model.save_pretrained("~/mine")
    assert ipsam.load("~/mine", device="cpu").source == home / "mine"
    with pytest.raises(FileNotFoundError, match=r"no model at ~/none: give"):
        ipsam.load("~/none")
