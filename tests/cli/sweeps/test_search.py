"""Search: the next settings depend on the scores so far."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipsam.cli.sweeps import search

pytest.importorskip("optuna")
GIVEN = ("-m", "hydra/sweeper=optuna", "experiment=quickstart")


def test_search_approaches_the_best(script: Callable[..., Any], fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that were tried are not run again; the command line wins over the file."""
    calls = fake()
    monkeypatch.setattr(search, "_score", lambda run: -abs(float(run.values["engine.lr"]) - 1e-3))
    given = ["hydra.sweeper.trials=8", "hydra.sweeper.at_once=2", "hydra.launcher.devices=[cpu,cpu]"]
    given += ["engine.batch_size=4", "engine.weight_decay=0.1"]
    done = script("train", *GIVEN, *given, "engine.lr=1e-3,1e-2,1e-4")
    assert done.status == 0, done.err
    begun = [one for one in calls() if one["kind"] == "begin"]
    assert len(begun) == len({one["folder"] for one in begun}) == 3
    assert all("engine.batch_size=4" in one["arguments"] for one in begun)
    assert "best: run " in done.out
    assert "engine.lr=0.001" in done.out.partition("best: ")[2].splitlines()[0]


def test_search_needs_validation(script: Callable[..., Any], fake: Any) -> None:
    fake("(folder / 'checkpoints').mkdir(parents=True)")
    message = script("train", *GIVEN, "hydra.sweeper.trials=1").error
    assert "a search needs validation scores: set data.val, or data.val_fraction" in message
    assert Path("outputs/sweeps").is_dir()


def test_bad_settings_of_the_search_are_named(script: Callable[..., Any]) -> None:
    assert (
        "hydra.sweeper.trials must be a whole number, 1 or above"
        in script("train", *GIVEN, "hydra.sweeper.trials=0").error
    )
