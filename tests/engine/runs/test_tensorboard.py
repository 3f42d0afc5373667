"""Files that a run writes for TensorBoard."""

import errno
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest
from support.quick import every
from support.saved import failing
from support.training import PowerCutError, fit, model_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from ipsam.data import TestSet, TrainSet
from ipsam.engine.evaluate.panel import CELL, HEADER
from ipsam.engine.runs.checkpoint import load_training


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    return accumulator.Reload()


def steps(accumulator: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in accumulator.Scalars(tag)]


def test_tensorboard_holds_every_term_every_score_and_the_panel(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, test_set: TestSet
) -> None:
    fit(model_of(1), train_set, tmp_path, make_settings(epochs=2), val_set=test_set)
    logged = events(tmp_path / "tensorboard")
    scalars = set(logged.Tags()["scalars"])
    outputs = ("coarse", "refined", "fg", "bg", "auxiliary")
    terms = {"loss/total", *(f"loss/{output}/{part}" for output in outputs for part in ("bce", "iou", "l1"))}
    assert terms | {"val/mae", "val/sm", "val/mdice"} <= scalars
    (rate,) = [tag for tag in scalars if tag.endswith("lr")]
    for tag in (*terms, rate):
        assert steps(logged, tag) == list(range(1, 5))
        assert np.isfinite([event.value for event in logged.Scalars(tag)]).all()
    assert steps(logged, "val/sm") == [2, 4]
    pictures = logged.Images("panel")
    assert [picture.step for picture in pictures] == [2, 4]
    assert pictures[0].width == 7 * CELL  # image, mask, P+, P-, gate, coarse, refined
    assert pictures[0].height == HEADER + 2 * CELL  # a row for each image of the batch


def test_resuming_leaves_no_entry_twice(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, interrupt: Any
) -> None:
    """Cut off in epoch 2, two steps after the last checkpoint: they are written again, what was before stays."""
    settings = make_settings(epochs=3, save_every=1)
    interrupt(4)
    with pytest.raises(PowerCutError):
        fit(model_of(1), train_set, tmp_path, settings)
    for step in (3, 4):
        rmtree(tmp_path / "checkpoints" / f"step_0000000{step}")
    interrupt(None)
    fit(model_of(1), train_set, tmp_path, make_settings(epochs=3), resume=True)
    assert steps(events(tmp_path / "tensorboard"), "loss/total") == list(range(1, 7))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own thread
@pytest.mark.parametrize("fails", every(3, ["at the first entry", "later", "at the end"]))
def test_full_disk_ends_the_log_but_not_the_run(
    tmp_path: Path, train: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: str
) -> None:
    if fails == "at the first entry":
        (tmp_path / "tensorboard").write_text("not a folder")
    elif fails == "later":
        monkeypatch.setattr(RecordWriter, "write", failing(errno.ENOSPC))
    else:
        monkeypatch.setattr(RecordWriter, "close", failing(errno.ENOSPC))
    train(epochs=3)
    assert load_training(tmp_path / "checkpoints" / "last")["progress"]["epoch"] == 3
    assert caplog.text.count(f"the log in {tmp_path / 'tensorboard'} ends here: ") == 1
