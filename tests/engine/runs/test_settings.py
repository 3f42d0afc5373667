import math
import os
import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from support.defaults import settings_with


@pytest.mark.parametrize(
    ("key", "value", "takes"),
    [
        *((key, 0, "a whole number of at least 1") for key in ("accumulate", "log_every", "val_every", "keep")),
        *(("epochs", value, "a whole number of at least 1") for value in (0, "many", 1.5, True, None)),
        *((key, 1025, "a whole number from 1 to 1,024") for key in ("batch_size", "eval_batch_size")),
        ("num_threads", -1, "a whole number from 0 to 1,024"),
        ("num_workers", 257, "a whole number from 0 to 256"),
        ("warmup_steps", -1, "a whole number of at least 0"),
        *(("weight_decay", value, "a number of at least 0") for value in (-1.0, math.nan)),
        *(("lr", value, "a number above 0") for value in (0.0, math.inf, math.nan, "fast", True)),
        *(("clip", value, "a number above 0") for value in (0.0, math.nan)),
        ("precision", "fp8", "one of auto, fp32, bf16, fp16"),
        ("best", "accuracy", "one of mae, .*sm.*"),
        ("on_divergence", "wait", "stop or skip"),
        ("cpu", 1, "true or false"),
        ("memory_gb", 0, "a number above 0, or null"),
        *(("timeout", value, "a whole number from 1 to 86,400") for value in (0, 86_401, 0.5, None)),
        ("loss", 3, "a section of keys"),
        ("schedule", "linear", "cosine, constant, poly or step"),
        *(("warmup_share", value, "a number from 0 to 1, or null") for value in (-0.1, 1.5, math.nan)),
        ("watch_test", -1, "a whole number of at least 0"),
        ("decay_all", 0, "true or false"),
        ("trackers", ["visdom"], "a list of tensorboard, wandb, trackio or mlflow"),
        *(("profile_steps", value, r"\[\] or \[FIRST, LAST\], whole numbers from 1") for value in ([0, 5], 50)),
    ],
)
def test_impossible_values_are_named(key: str, value: Any, takes: str) -> None:
    with pytest.raises(ValueError, match=rf"^engine\.{key} must be {takes}, not {re.escape(repr(value))}$"):
        settings_with(**{key: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epoch": 3}, r"engine\.epoch: unknown key; did you mean engine\.epochs\?"),
        ({"colour": 3}, r"engine\.colour: unknown key; there are epochs, batch_size, .*loss"),
        ({"loss": {"bgg": 1.0}}, r"engine\.loss\.bgg: unknown key; did you mean engine\.loss\.bg\?"),
        ({"loss": {"fg": -1.0}}, r"engine\.loss\.fg must be a number of at least 0, not -1\.0"),
        ({"terms": {"dice": -1.0}}, r"engine\.terms\.dice must be a number of at least 0, not -1\.0"),
        ({"terms": dict.fromkeys(("bce", "iou", "l1"), 0.0)}, r"engine\.terms: at least one .* weight above 0"),
        (
            {"loss": dict.fromkeys(("coarse", "refined", "fg", "bg", "auxiliary"), 0.0)},
            r"engine\.loss: at least one of coarse, .*, auxiliary must have a weight above 0",
        ),
        ({"groups": [{"match": "a"}, {"lr_scale": 2.0}]}, r"engine\.groups\[1\]\.match is missing"),
        ({"groups": [{"match": "("}]}, r"engine\.groups\[0\]\.match must be a regular expression, not '\(' \(.*\)"),
        ({"groups": [{"match": "a", "lr_scale": 0}]}, r"engine\.groups\[0\]\.lr_scale must be a number above 0, not 0"),
        ({"groups": [{"match": "a", "lr": 2}]}, r"engine\.groups\[0\]\.lr: unknown key; there are match, lr_scale, .*"),
        (
            {"groups": [{"match": "a", "weight_decay": -1}]},
            r"engine\.groups\[0\]\.weight_decay must be a number of at least 0, or null, not -1",
        ),
        ({"groups": ["a"]}, r"engine\.groups must be a list of \{match: REGEX, .*\}, not \['a'\]"),
        ({"lr": 1e-7}, r"engine: min_lr must be at most lr, not min_lr=1e-06 with lr=1e-07"),
        *(
            ({"profile_steps": steps}, rf"engine: profile_steps must be \[FIRST, LAST\] or \[\], not \[{steps[0]}.*\]")
            for steps in ([50], [60, 50])
        ),
        ({"memory_gb": 1, "activation_checkpointing": True}, r"engine: .*leave activation_checkpointing=false"),
        ({"epochs": 0, "lr": 0}, r"engine\.epochs must .*, not 0\nengine\.lr must be a number above 0, not 0"),
    ],
    ids=str,
)
def test_unknown_keys_and_contradictions_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{message}$"):
        settings_with(**changes)


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "saved", "now", "shared"),  # shared: batch size and passes of each process
    [
        (4, 1, 1, 2, (2, 1)),
        (2, 1, 2, 1, (2, 2)),
        (2, 6, 1, 3, (2, 2)),
        (2, 6, 1, 4, (1, 3)),
        (3, 2, 3, 1, (3, 6)),
        (6, 1, 1, 4, None),
    ],
)
def test_other_processes_share_the_same_steps(
    batch_size: int, accumulate: int, saved: int, now: int, shared: tuple[int, int] | None
) -> None:
    settings, images = settings_with(batch_size=batch_size, accumulate=accumulate), batch_size * accumulate * saved
    assert settings.with_steps_of(images, saved) == settings
    if shared is None:
        message = r"4 processes can't share the 6 images .*: resume with one of 1, 2, 3, 6, or begin .* is 4 or 8$"
        with pytest.raises(ValueError, match=message):
            settings.with_steps_of(images, now)
        return
    found = settings.with_steps_of(images, now)
    assert (found.batch_size, found.accumulate) == shared


def test_whole_numbers_are_numbers() -> None:
    assert settings_with(lr=1, clip=2, memory_gb=3).memory_gb == 3.0


def test_learning_rate_rises_and_falls() -> None:
    settings = settings_with(lr=1.0, min_lr=0.01, warmup_steps=10)
    rates = [settings.lr_at(step, 110) for step in range(111)]
    assert rates[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert max(rates) == rates[10] == 1.0
    assert rates[60] == pytest.approx((1 + 0.01) / 2)  # half-way down the cosine
    assert rates[110] == pytest.approx(0.01)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))


def test_learning_rate_without_warm_up_or_with_a_long_one() -> None:
    settings = settings_with(lr=1e-3, min_lr=1e-6, warmup_steps=0)
    assert [settings.lr_at(step, 10) for step in (0, 10, 11)] == pytest.approx([1e-3, 1e-6, 1e-6])
    settings = settings_with(lr=1.0, min_lr=0.1, warmup_steps=100)
    assert max(settings.lr_at(step, 20) for step in range(20)) == pytest.approx(0.2)


def test_cpu_can_be_chosen() -> None:
    assert settings_with(cpu=True).device == torch.device("cpu")
    assert not settings_with(cpu=True, precision="auto").bf16
    assert settings_with(cpu=True, precision="bf16").bf16
    assert not settings_with(precision="fp32").bf16


@pytest.mark.parametrize(("asked", "given"), [(0, 0), (1, 1), (4, 3)])
def test_no_more_workers_than_cpus(monkeypatch: pytest.MonkeyPatch, asked: int, given: int) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 5})
    assert settings_with(num_workers=asked).num_workers == given


@pytest.mark.parametrize(
    ("schedule", "rates"),  # after 10 of 110 steps of warm-up
    [
        ("cosine", {10: 1.0, 35: 0.01 + 0.99 * (1 + math.sqrt(0.5)) / 2, 60: 0.505, 110: 0.01}),
        ("constant", {10: 1.0, 60: 1.0, 110: 1.0}),
        ("poly", {10: 1.0, 60: 0.01 + 0.99 * 0.5**0.9, 85: 0.01 + 0.99 * 0.25**0.9, 110: 0.01}),
        ("step", {10: 1.0, 54: 1.0, 55: 0.1, 82: 0.1, 83: 0.01, 110: 0.01}),
    ],
)
def test_schedules_by_hand(schedule: str, rates: dict[int, float]) -> None:
    settings = settings_with(lr=1.0, min_lr=0.01, warmup_steps=10, schedule=schedule)
    assert [settings.lr_at(step, 110) for step in range(10)] == pytest.approx([n / 10 for n in range(1, 11)])
    assert {step: settings.lr_at(step, 110) for step in rates} == pytest.approx(rates)


def test_cosine_keeps_its_bits() -> None:
    settings = settings_with(lr=1.3e-4, min_lr=1e-6, warmup_steps=7)
    for step in range(7, 101):
        former = 1e-6 + (1.3e-4 - 1e-6) * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - 7) / 93)))
        assert settings.lr_at(step, 100) == former


def test_warm_up_can_be_a_share_of_the_run() -> None:
    settings = settings_with(lr=1.0, warmup_share=0.1)
    assert [settings.num_warmup(num_steps) for num_steps in (4, 100, 1000)] == [0, 10, 100]
    assert settings.lr_at(4, 100) == 0.5
    assert settings_with(warmup_steps=7).num_warmup(100) == 7
