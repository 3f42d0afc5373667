"""Messages about damaged files and wrong settings, which the fuzz tests reach but do not read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ipsam.data.layouts import locate_set
from ipsam.engine.evaluate.evaluator import Predicted
from ipsam.engine.runs import model_section as budget
from ipsam.engine.runs.model_section import check_model_section, parameter_budget
from ipsam.engine.train.optimizer import fitting_state
from ipsam.engine.train.state import Progress

pytestmark = pytest.mark.usefixtures("untyped")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": -1}, "step must be a whole number of at least 0 and below .*, not -1"),
        ({"epoch": True}, "epoch must be a whole number .*, not True"),
        ({"best": float("nan")}, "best must be a whole number, a number or null, not nan"),
        ({"best_step": 3, "step": 2}, "best_step must be from 0 to 2, not 3"),
        ({"history": [1]}, "history must be a list of scores by name"),
    ],
)
def test_progress(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Progress(**values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({7: {}}, "the optimizer state belongs to other parameters"),
        ({0: {"step": torch.zeros(())}}, "state of parameter 0 must hold exp_avg, exp_avg_sq, step"),
        ({0: {"step": 1, "exp_avg": 0, "exp_avg_sq": 0}}, r"step of parameter 0 must be a float tensor of shape \(\)"),
        (
            {0: {"step": torch.ones(()), "exp_avg": torch.zeros(1, 1), "exp_avg_sq": -torch.ones(1, 1)}},
            "exp_avg_sq of parameter 0 holds a number that is negative or not finite",
        ),
    ],
)
def test_the_optimisers_state(change: Any, message: str) -> None:
    optimizer = torch.optim.AdamW(nn.Linear(1, 1).parameters())
    with pytest.raises(ValueError, match=message):
        fitting_state({"state": change}, optimizer)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"_target_": "os.system"}, r"model\._target_ is 'os\.system'; allowed are ipsam\.model\."),
        (
            {"_target_": "ipsam.model.IPSAM", "_args_": [1]},
            r"model\._args_ is a key of Hydra, not an argument of a model",
        ),
        ({"a": [{"b": 10_000}]}, r"model\.a\[0\]\.b must be at most 8192, not 10000"),
    ],
)
def test_a_models_section(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_model_section(section)


def test_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "MAX_PARAMETERS", 100)
    with (
        pytest.raises(
            ValueError, match=r"larger than any of this project.*\(the limit was met at weight\): make it narro"
        ),
        parameter_budget(),
    ):
        nn.Linear(20, 20)


def test_a_name_that_would_be_a_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the dataset name '\.\./x' also names files: use letters, digits"):
        locate_set({"name": "../x", "images": "a", "masks": "b"}, "test", tmp_path)


def test_a_map_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    predicted = Predicted("a", np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), tmp_path / "a.png")
    with pytest.raises(OSError, match=r"cannot write the map .*a\.png"):
        predicted()
