"""Checkpoints are saved every few steps, at the end of epochs, and for the best validation score."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from support.quick import every
from support.training import CONFIG, PowerCutError, model_of, same

from ipsam.data import TestSet
from ipsam.engine.runs import store
from ipsam.engine.runs.checkpoint import load_training, load_weights
from ipsam.engine.train import trainer
from ipsam.engine.train.optimizer import SkippableAdamW
from ipsam.model import IPSAM


def history(folder: Path) -> Any:
    return load_training(folder / "checkpoints" / "last")["progress"]["history"]


def test_without_validation_there_is_no_best(tmp_path: Path, train: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        train()
    assert caplog.messages[-1] == "trained 1 epoch, 2 steps"
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["last", "step_00000002"]
    assert (tmp_path / "checkpoints" / "last" / "config.yaml").read_text() == CONFIG
    assert history(tmp_path) == []


@pytest.mark.parametrize(("metric", "scores"), every(2, [("sm", [0.3, 0.5, 0.5, 0.4]), ("mae", [0.3, 0.1, 0.2, 0.1])]))
def test_best_is_the_first_best_score(
    tmp_path: Path,
    train: Any,
    test_set: TestSet,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    metric: str,
    scores: list[float],
) -> None:
    """It is logged with each epoch, and once more at the end."""
    given = iter(scores)
    monkeypatch.setattr(trainer, "validate", lambda *_: {metric: next(given)})
    with caplog.at_level(logging.INFO):
        train(epochs=4, best=metric, val_set=test_set)
    kept = load_training(tmp_path / "checkpoints" / "best")["progress"]
    assert (kept["epoch"], kept["best"]) == (2, scores[1])
    assert history(tmp_path) == [{"epoch": epoch, metric: score} for epoch, score in enumerate(scores, start=1)]
    first, second, third, _, last = [line for line in caplog.messages if " images/s" not in line][-5:]
    for line, number in ((first, 1), (second, 2)):
        assert re.fullmatch(
            rf"epoch {number} of 4, step {2 * number}: loss \d\.\d{{4}}; [\d.]+ s a step, \d+% of it waiting for data; "
            rf"validation: {metric} {scores[number - 1]:.4f} \(the best so far\)",
            line,
        )
    assert f"{metric} {scores[2]:.4f} (best so far: {metric} {scores[1]:.4f} in epoch 2)" in third
    assert last == f"trained 4 epochs, 8 steps; best validation: {metric} {scores[1]:.4f} in epoch 2, checkpoints/best"


def test_validation_scores_the_saved_weights(tmp_path: Path, train: Any, make_settings: Any, test_set: TestSet) -> None:
    train(epochs=2, val_set=test_set)
    model = model_of(2)
    load_weights(model, tmp_path / "checkpoints" / "last")
    assert {"epoch": 2, **trainer.validate(model, test_set, make_settings())} == history(tmp_path)[-1]


def test_checkpoints_are_saved_on_steps_and_epochs(
    tmp_path: Path, train: Any, scenes: Any, test_set: TestSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest two are kept, and the best."""
    saved: list[tuple[int, int, int]] = []
    save = store.save_checkpoint

    def watched(folder: Path, model: IPSAM, *, config: str, training: Any) -> None:
        progress = training["progress"]
        saved.append((progress["step"], progress["epoch"], progress["batch"]))
        save(folder, model, config=config, training=training)

    monkeypatch.setattr(store, "save_checkpoint", watched)
    monkeypatch.setattr(trainer, "validate", lambda *_: {"sm": 1 / len(saved)})
    train_set = scenes(num_train=10).train_and_val(seed=0)[0]
    train(train_set=train_set, val_set=test_set, epochs=3, save_every=2, val_every=1)
    # (5, 0, 5) and its like come before validation, which may take long.
    assert saved == [
        *((2, 0, 2), (4, 0, 4), (5, 0, 5), (5, 1, 0)),
        *((6, 1, 1), (8, 1, 3), (10, 1, 5), (10, 2, 0)),
        *((12, 2, 2), (14, 2, 4), (15, 2, 5), (15, 3, 0)),
    ]
    folder = tmp_path / "checkpoints"
    steps = ["step_00000005", "step_00000014", "step_00000015"]
    assert sorted(path.name for path in folder.iterdir()) == ["best", "last", *steps]
    assert (folder / "best").resolve() == (folder / steps[0]).resolve()
    assert (folder / "last").resolve() == (folder / steps[2]).resolve()


@pytest.mark.usefixtures("untyped")
def test_grown_run_follows_the_longer_schedule(
    train: Any, interrupt: Any, make_settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """From the first new step on, and to the same bits if it is interrupted."""
    used: list[float] = []
    step = SkippableAdamW.step_unless

    def watched(optimizer: Any, bad: torch.Tensor, *, lr: float) -> None:
        used.append(lr)
        step(optimizer, bad, lr=lr)

    monkeypatch.setattr(SkippableAdamW, "step_unless", watched)
    longer = {"resume": True, "epochs": 3, "save_every": 1}
    for folder in ("one", "two"):
        train(folder, epochs=2)
    used.clear()
    with caplog.at_level(logging.INFO):
        straight = train("one", seed=2, **longer)
    rates = [make_settings(epochs=3).lr_at(step, 6) for step in (4, 5)]
    assert used == rates
    assert (
        f"the cosine schedule is that of 3 epochs, 6 steps: step 5 has a learning rate of {rates[0]:.3g}" in caplog.text
    )
    interrupt(5)
    with pytest.raises(PowerCutError):
        train("two", seed=2, **longer)
    interrupt(None)
    assert same(straight.state_dict(), train("two", seed=3, **longer).state_dict())
