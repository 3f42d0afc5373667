"""Errors of the engine name the damaged value, its limits and the way out; the fuzz tests do not read them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ipsam.data.layouts import locate_set
from ipsam.engine.evaluate.evaluator import Predicted
from ipsam.engine.runs import model_section
from ipsam.engine.runs.model_section import check_model_section, parameter_budget
from ipsam.engine.train.optimizer import fitting_state
from ipsam.engine.train.progress import Progress

pytestmark = pytest.mark.usefixtures("untyped")


class LargeModel(nn.Linear):
    """Model above a limit of 100 parameters."""

    def __init__(self) -> None:
        with parameter_budget():
            super().__init__(20, 20)


def fit_state(state: Any) -> None:
    fitting_state({"state": state}, torch.optim.AdamW(nn.Linear(1, 1).parameters()))


MOMENTS = {"step": torch.ones(()), "exp_avg": torch.zeros(1, 1), "exp_avg_sq": -torch.ones(1, 1)}
ERRORS = [
    (lambda: Progress(step=-1), "step must be a whole number of at least 0 and below .*, not -1"),
    (lambda: Progress(epoch=True), "epoch must be a whole number .*, not True"),
    (lambda: Progress(best=float("nan")), "best must be a whole number, a number or null, not nan"),
    (lambda: Progress(best_step=3, step=2), "best_step must be from 0 to 2, not 3"),
    (lambda: Progress(history=[1]), "history must be a list of scores by name"),
    (lambda: fit_state({7: {}}), "the optimizer state belongs to other parameters"),
    (lambda: fit_state({0: {"step": torch.zeros(())}}), "state of parameter 0 must hold exp_avg, exp_avg_sq, step"),
    (
        lambda: fit_state({0: {"step": 1, "exp_avg": 0, "exp_avg_sq": 0}}),
        r"step of parameter 0 must be a float tensor of shape \(\)",
    ),
    (lambda: fit_state({0: MOMENTS}), "exp_avg_sq of parameter 0 holds a number that is negative or not finite"),
    (
        lambda: check_model_section({"_target_": "os.system"}),
        r"model\._target_ is 'os\.system'; allowed are ipsam\.model\.",
    ),
    (
        lambda: check_model_section({"_target_": "ipsam.model.IPSAM", "_args_": [1]}),
        r"model\._args_ is a key of Hydra, not an argument of a model",
    ),
    (lambda: check_model_section({"a": [{"b": 10_000}]}), r"model\.a\[0\]\.b must be at most 8192, not 10000"),
    (LargeModel, r"larger than any of this project.*\(the limit was met at weight\): make it narro"),
    (
        lambda: locate_set({"name": "../x", "images": "a", "masks": "b"}, "test", Path()),
        r"the dataset name '\.\./x' also names files: use up to 100 letters, digits",
    ),
]


@pytest.mark.parametrize(("call", "message"), ERRORS)
def test_errors_name_value_and_way_out(call: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_section, "MAX_PARAMETERS", 100)
    with pytest.raises(ValueError, match=message):
        call()


def test_unwritable_map_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    predicted = Predicted("a", np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), tmp_path / "a.png")
    with pytest.raises(OSError, match=r"directory: .*a\.png"):
        predicted()
