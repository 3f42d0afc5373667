"""What training saves, and when: every few steps, at the end of epochs, and the best by what is held out."""

from pathlib import Path
from typing import Any

import pytest
from support.training import CONFIG, fit, model_of

from ipsam.data import TestSet, TrainSet
from ipsam.engine.runs import store
from ipsam.engine.runs.checkpoint import load_training, load_weights
from ipsam.engine.train import trainer
from ipsam.model import IPSAM


def test_without_validation_there_is_no_best(tmp_path: Path, make_settings: Any, train_set: TrainSet) -> None:
    fit(model_of(1), train_set, tmp_path, make_settings())
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["last", "step_00000002"]
    assert (tmp_path / "checkpoints" / "last" / "config.yaml").read_text() == CONFIG
    assert load_training(tmp_path / "checkpoints" / "last")["progress"]["history"] == []


@pytest.mark.parametrize(
    ("metric", "scores", "best"), [("sm", [0.3, 0.5, 0.5, 0.4], 2), ("mae", [0.3, 0.1, 0.2, 0.1], 2)]
)
def test_best_is_the_first_best_score(
    tmp_path: Path,
    make_settings: Any,
    train_set: TrainSet,
    test_set: TestSet,
    monkeypatch: pytest.MonkeyPatch,
    metric: str,
    scores: list[float],
    best: int,
) -> None:
    given = iter(scores)
    monkeypatch.setattr(trainer, "validate", lambda *_: {metric: next(given)})
    fit(model_of(1), train_set, tmp_path, make_settings(epochs=4, best=metric), val_set=test_set)
    kept = load_training(tmp_path / "checkpoints" / "best")["progress"]
    assert kept["epoch"] == best
    assert kept["best"] == scores[best - 1]
    history = load_training(tmp_path / "checkpoints" / "last")["progress"]["history"]
    assert history == [{"epoch": epoch, metric: score} for epoch, score in enumerate(scores, start=1)]


def test_validation_scores_the_saved_weights(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, test_set: TestSet
) -> None:
    fit(model_of(1), train_set, tmp_path, make_settings(epochs=2), val_set=test_set)
    model = model_of(2)
    load_weights(model, tmp_path / "checkpoints" / "last")
    history = load_training(tmp_path / "checkpoints" / "last")["progress"]["history"]
    assert {"epoch": 2, **trainer.validate(model, test_set, make_settings())} == history[-1]


def test_checkpoints_are_saved_on_steps_and_epochs(
    tmp_path: Path, make_settings: Any, scenes: Any, test_set: TestSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all these the newest two are kept, and the best."""
    saved: list[tuple[int, int, int]] = []
    save = store.save_checkpoint

    def watched(folder: Path, model: IPSAM, *, config: str, training: Any) -> None:
        progress = training["progress"]
        saved.append((progress["step"], progress["epoch"], progress["batch"]))
        save(folder, model, config=config, training=training)

    monkeypatch.setattr(store, "save_checkpoint", watched)
    monkeypatch.setattr(trainer, "validate", lambda *_: {"sm": 1 / len(saved)})
    train_set = scenes(num_train=10).train_and_val(seed=0)[0]
    settings = make_settings(epochs=3, save_every=2, val_every=1)
    fit(model_of(1), train_set, tmp_path, settings, val_set=test_set)
    assert saved == [
        (2, 0, 2),
        (4, 0, 4),
        (5, 0, 5),  # before validation, which may take long
        (5, 1, 0),
        (6, 1, 1),
        (8, 1, 3),
        (10, 1, 5),
        (10, 2, 0),
        (12, 2, 2),
        (14, 2, 4),
        (15, 2, 5),
        (15, 3, 0),
    ]
    folder = tmp_path / "checkpoints"
    steps = ["step_00000005", "step_00000014", "step_00000015"]
    assert sorted(path.name for path in folder.iterdir()) == ["best", "last", *steps]
    assert (folder / "best").resolve() == (folder / steps[0]).resolve()
    assert (folder / "last").resolve() == (folder / steps[2]).resolve()
