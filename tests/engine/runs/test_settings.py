import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from ipsam.engine.runs.settings import Settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(
            ({name: 0}, rf"engine\.{name} must be at least 1, not 0")
            for name in (
                "epochs",
                "batch_size",
                "accumulate",
                "eval_batch_size",
                "log_every",
                "val_every",
                "save_every",
            )
        ),
        ({"num_threads": -1}, r"engine\.num_threads must not be negative"),
        ({"num_workers": -1}, r"engine\.num_workers.* must not be negative"),
        ({"warmup_steps": -1}, r"warmup_steps.* must not be negative"),
        ({"weight_decay": -1.0}, r"weight_decay must not be negative"),
        ({"weight_decay": math.nan}, r"weight_decay must not be negative"),
        ({"lr": 0.0}, r"0 < min_lr <= lr"),
        ({"lr": 1e-7}, r"0 < min_lr <= lr, not min_lr=1e-06, lr=1e-07"),
        ({"lr": math.inf}, r"0 < min_lr <= lr"),
        ({"lr": math.nan}, r"0 < min_lr <= lr"),
        ({"min_lr": 0.0}, r"0 < min_lr <= lr"),
        ({"clip": 0.0}, r"engine\.clip must be above 0"),
        ({"clip": math.nan}, r"engine\.clip must be above 0"),
        ({"precision": "fp16"}, r"engine\.precision must be one of auto, fp32, bf16, not 'fp16'"),
        ({"best": "accuracy"}, r"engine\.best must be one of .*sm.*, not 'accuracy'"),
        ({"loss": {"foreground": 1.0}}, r"unknown key engine\.loss\.foreground"),
        ({"loss": {"fg": -1.0}}, r"engine\.loss\.fg must be a number, 0 or above"),
    ],
    ids=str,
)
def test_impossible_values_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**options)


def test_learning_rate_rises_and_falls() -> None:
    settings = Settings(lr=1.0, min_lr=0.01, warmup_steps=10)
    rates = [settings.lr_at(step, 110) for step in range(111)]
    assert rates[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert max(rates) == rates[10] == 1.0
    assert rates[60] == pytest.approx((1 + 0.01) / 2)  # half-way down the cosine
    assert rates[110] == pytest.approx(0.01)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))


def test_no_warm_up_begins_at_the_peak() -> None:
    settings = Settings(lr=1e-3, min_lr=1e-6, warmup_steps=0)
    assert settings.lr_at(0, 10) == 1e-3
    assert settings.lr_at(10, 10) == pytest.approx(1e-6)
    assert settings.lr_at(11, 10) == pytest.approx(1e-6)


def test_a_warm_up_longer_than_the_run_never_passes_the_peak() -> None:
    settings = Settings(lr=1.0, min_lr=0.1, warmup_steps=100)
    assert max(settings.lr_at(step, 20) for step in range(20)) == pytest.approx(0.2)


def test_cpu_can_be_asked_for() -> None:
    assert Settings(cpu=True).device == torch.device("cpu")
    assert not Settings(cpu=True, precision="auto").bf16
    assert Settings(cpu=True, precision="bf16").bf16
    assert not Settings(precision="fp32").bf16
