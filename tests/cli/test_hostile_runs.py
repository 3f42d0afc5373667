"""Commands on a malicious run folder: links are not followed and endless files not read."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_run import TINY


@pytest.mark.parametrize(
    "name", ["train.log", "config.yaml", "environment.jsonl", "tensorboard", "trackers", "eval", "diverged"]
)
def test_training_does_not_follow_links(script: Callable[..., Any], name: str) -> None:
    Path("run").mkdir()
    Path("mine").write_text("mine")
    Path("run", name).symlink_to(Path("mine").absolute())
    assert f"run/{name} is a link that leads out of run" in script("train", *TINY, "resume=true").error
    assert Path("mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "link"),
    [
        (("eval", "ckpt=run"), "run/eval"),
        (("visualize", "ckpt=run", "stems=[a]"), "run/figures"),
        (("tables", "runs=run"), "run/tables"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_results_do_not_follow_links(script: Callable[..., Any], run: Path, arguments: Any, link: str) -> None:
    Path("mine").mkdir()
    name, *options = arguments
    Path(link).symlink_to(Path("mine").absolute())
    assert f"{link} is a link that leads out" in script(name, *options).error
    assert list(Path("mine").iterdir()) == []


@pytest.mark.parametrize("name", ["data.json", "eval/metrics.json"])
def test_huge_sparse_files_are_not_read(script: Callable[..., Any], run: Path, name: str) -> None:
    Path("run", name).parent.mkdir(exist_ok=True)
    Path("run", name).touch()
    os.truncate(Path("run", name), 1 << 40)
    assert script("predict", "ckpt=run", "input=own/images", "output=out").status == 0
    assert script("eval", "ckpt=run", "out=scores").status == 0
