"""Evaluating the test sets in the course of a training changes nothing of it, and survives resuming."""

from pathlib import Path
from typing import Any

import pytest
from support.training import PowerCutError, model_of, same

from ipsam.data import TestSet
from ipsam.engine.evaluate.curve import read_curve
from ipsam.engine.runs.checkpoint import load_training
from ipsam.engine.train import trainer
from ipsam.model import LoRA


def epochs_of(run: Path) -> list[int]:
    return [epoch for epoch, _, _ in read_curve(run / "eval" / "curve.csv")]


@pytest.mark.usefixtures("untyped")
def test_watching_changes_no_bit_of_the_training(tmp_path: Path, train: Any, test_set: TestSet) -> None:
    """Dropout draws random numbers after each evaluation, whose loader draws some, too."""

    def trained(folder: str, **settings: Any) -> Any:
        model = model_of(1, lora=LoRA(rank=2, dropout=0.3))
        sets = {"val_set": test_set, "test_sets": {"synthetic": test_set}}
        return train(folder, model=model, epochs=3, **sets, **settings).state_dict()

    assert same(trained("plain"), trained("watched", watch_test=2))
    last = [load_training(tmp_path / run / "checkpoints" / "last") for run in ("plain", "watched")]
    assert same(*last)  # optimiser, random states and history
    best = [(tmp_path / run / "checkpoints" / "best").readlink() for run in ("plain", "watched")]
    assert best[0] == best[1]
    assert epochs_of(tmp_path / "plain") == []
    assert epochs_of(tmp_path / "watched") == [2, 3]
    _, name, scores = read_curve(tmp_path / "watched" / "eval" / "curve.csv")[-1]
    assert name == "synthetic"
    assert scores["sm"] == last[1]["progress"]["history"][-1]["sm"]  # the same images are held out here


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("cut", ["before", "after"])
def test_each_epoch_is_watched_once(
    tmp_path: Path, train: Any, test_set: TestSet, interrupt: Any, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    """Cut off between the last step of the second epoch and its evaluation, or when that has been written."""
    options = {"test_sets": {"synthetic": test_set}, "epochs": 3, "watch_test": 1}
    train("one", **options)
    write = trainer.add_epoch

    def then_stop(path: Path, epoch: int, scores: Any) -> None:
        write(path, epoch, scores)
        if epoch == 2:
            raise PowerCutError

    with monkeypatch.context() as patch:
        if cut == "before":
            interrupt(4)
        else:
            patch.setattr(trainer, "add_epoch", then_stop)
        with pytest.raises(PowerCutError):
            train("two", **options)
    interrupt(None)
    assert epochs_of(tmp_path / "two") == ([1] if cut == "before" else [1, 2])
    train("two", seed=2, resume=True, **options)
    assert epochs_of(tmp_path / "two") == [1, 2, 3]
    one, two = (tmp_path / run / "eval" / "curve.csv" for run in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
