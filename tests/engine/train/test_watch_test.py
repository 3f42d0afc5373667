"""Evaluating the test sets in the course of a training changes nothing of it, and survives resuming."""

from pathlib import Path
from typing import Any

import pytest
from support.quick import only
from support.training import PowerCutError, model_of, same

from ipsam.engine.evaluate.curve import read_curve
from ipsam.engine.runs.checkpoint import load_training
from ipsam.engine.train import trainer
from ipsam.model import LoRA


@pytest.fixture
def sets(scenes: Any) -> Any:
    """Two scenes to train on, a step an epoch, and another to test on."""
    data = scenes(num_train=2, num_test=1)
    return {"train_set": data.train_and_val(seed=0)[0], "test_sets": data.test_sets()}


def epochs_of(run: Path) -> list[int]:
    return [epoch for epoch, _, _ in read_curve(run / "eval" / "curve.csv")]


@pytest.mark.usefixtures("untyped")
def test_watching_changes_no_bit_of_the_training(tmp_path: Path, train: Any, sets: Any) -> None:
    """Dropout draws random numbers after each evaluation, whose loader draws some, too."""

    def trained(folder: str, **settings: Any) -> Any:
        model = model_of(1, lora=LoRA(rank=2, dropout=0.3))
        return train(folder, model=model, epochs=2, val_set=sets["test_sets"]["synthetic"], **sets, **settings)

    plain, watched = trained("plain"), trained("watched", watch_test=1)
    assert same(plain.state_dict(), watched.state_dict())
    last = [load_training(tmp_path / run / "checkpoints" / "last") for run in ("plain", "watched")]
    assert same(*last)  # optimiser, random states and history
    best = [(tmp_path / run / "checkpoints" / "best").readlink() for run in ("plain", "watched")]
    assert best[0] == best[1]
    assert epochs_of(tmp_path / "plain") == []
    curve = read_curve(tmp_path / "watched" / "eval" / "curve.csv")
    history = last[1]["progress"]["history"]  # of the same image
    assert [(epoch, scores["sm"]) for epoch, _, scores in curve] == [(one["epoch"], one["sm"]) for one in history]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("cut", only({"after"}, ["after", "before"]))
def test_each_epoch_is_watched_once(
    tmp_path: Path, train: Any, sets: Any, interrupt: Any, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """Cut off between the last step of the second epoch and its evaluation, or when that has been written."""
    options = {**sets, "epochs": 3, "watch_test": 2}
    write = trainer.add_epoch

    def then_stop(path: Path, epoch: int, scores: Any) -> None:
        write(path, epoch, scores)
        raise PowerCutError

    with monkeypatch.context() as patch:
        if cut == "before":
            interrupt(2)
        else:
            patch.setattr(trainer, "add_epoch", then_stop)
        with pytest.raises(PowerCutError):
            train(**options)
    interrupt(None)
    assert epochs_of(tmp_path) == ([] if cut == "before" else [2])
    if cut == "after":
        curve = tmp_path / "eval" / "curve.csv"
        content = curve.read_bytes()
        curve.write_bytes(content[:-1] + b",")
        with monkeypatch.context() as patch:
            patch.setattr(trainer, "RunState", None)  # it is refused before any work
            with pytest.raises(ValueError, match=r"curve\.csv is damaged"):
                train(seed=2, resume=True, **options)
        curve.write_bytes(content)
    train(seed=2, resume=True, **options)
    assert epochs_of(tmp_path) == [2, 3]  # also the last
