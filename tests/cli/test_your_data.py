"""The guide ipsam/data/YOUR_DATA.md, followed word for word, with fewer steps at a smaller size."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.figure_runs import write_set

import ipsam
from ipsam.data import benchmarks
from ipsam.engine.inference.model_card import training_data
from ipsam.engine.runs.model_folder import read_description

GUIDE = Path(benchmarks.__file__).with_name("YOUR_DATA.md").read_text(encoding="utf-8")
SHORT = {
    "check_data": ["num_workers=0"],
    "train": ["engine.epochs=1", "engine.batch_size=2", "data.image_size=64", "engine.num_workers=0"],
}


@pytest.mark.slow
def test_guide_leads_from_a_folder_to_a_package(script: Callable[..., Any]) -> None:
    for name in ("mine", "test", "photos"):
        write_set(name)
    commands = list(map(shlex.split, re.findall(r"^ +(ipsam .*)$", GUIDE, re.M)))
    assert [words[1] for words in commands] == ["check_data", "train", "predict", "visualize", "export", "release"]
    for _, command, *given in commands:
        if command == "export":  # takes a minute; test_export.py has it
            continue
        done = script(command, *given, *SHORT.get(command, ()))
        assert done.status == 0, (command, done.err)
    description = read_description(Path("mine_package"))
    assert training_data(description) == "mine from the weights of lite (trained on ECSSD, synthetic scenes)"
    assert description["terms"] == "TERMS OF YOUR IMAGES"
    assert description["metrics"]["mine_test"]["num_images"] == 4
    assert len(list(Path("masks/overlay").rglob("*.png"))) == 8  # of the photos and, as pictures, their masks
    assert ipsam.load("mine_package", device="cpu").predict("photos/images/a.png").mask.shape
