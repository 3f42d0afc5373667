"""Trackers: each writes every entry once, across interruptions, and changes no bit of the training."""

import errno
import importlib
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest
from support.quick import every
from support.saved import failing
from support.training import PowerCutError, fit, model_of, same
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from ipsam.data import TestSet, TrainSet
from ipsam.engine.evaluate.page import GAP, WIDTH
from ipsam.engine.runs import trackers
from ipsam.engine.runs.checkpoint import load_training
from ipsam.engine.runs.trackers import Trackers

OTHERS = ("wandb", "trackio", "mlflow")
pytestmark = pytest.mark.filterwarnings("default")  # of the trackers' packages


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    return accumulator.Reload()


def steps(accumulator: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in accumulator.Scalars(tag)]


def test_tensorboard_holds_every_term_every_score_and_the_panel(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, test_set: TestSet
) -> None:
    settings = make_settings(epochs=2, watch_test=2, trackers=["tensorboard"])
    fit(model_of(1), train_set, tmp_path, settings, val_set=test_set, test_sets={"a": test_set})
    logged = events(tmp_path / "tensorboard")
    scalars = set(logged.Tags()["scalars"])
    outputs = ("coarse", "refined", "fg", "bg", "auxiliary")
    terms = {"loss/total", *(f"loss/{output}/{part}" for output in outputs for part in ("bce", "iou", "l1"))}
    telemetry = {
        *(f"optimiser/{name}" for name in ("lr", "gradient_norm", "skipped")),
        *(f"speed/{name}" for name in ("images_per_second", "waiting_for_data", "peak_memory_gb", "hours_left")),
    }
    assert terms | telemetry | {"val/mae", "val/sm", "val/mdice", "watch/a/sm"} <= scalars
    for tag in terms | telemetry:
        assert steps(logged, tag) == list(range(1, 5))
        assert np.isfinite([event.value for event in logged.Scalars(tag)]).all()
    assert [event.value for event in logged.Scalars("speed/hours_left")][-1] == 0
    assert steps(logged, "val/sm") == [2, 4]
    pictures = logged.Images("panel")
    assert [picture.step for picture in pictures] == [2, 4]
    assert pictures[0].width == (7 * (WIDTH + GAP) - GAP) // 2  # image, truth, P+, P-, gate, coarse, refined

    (content,) = logged.Tensors("custom_scalars__config__")[-1].tensor_proto.string_val
    (overview,) = layout_pb2.Layout.FromString(content).category
    for chart in overview.chart:
        assert any(re.match(chart.multiline.tag[0], tag) for tag in scalars), chart.title


def fit_cut_off(folder: Path, train_set: TrainSet, settings: Any, interrupt: Any) -> Any:
    """Train until a power cut two steps after the last checkpoint that is left, and resume; return the model."""
    interrupt(4)
    with pytest.raises(PowerCutError):
        fit(model_of(1), train_set, folder, settings)
    for step in (3, 4):
        rmtree(folder / "checkpoints" / f"step_0000000{step}")
    interrupt(None)
    return fit(model_of(2), train_set, folder, settings, resume=True)


def test_resuming_leaves_no_entry_twice(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, interrupt: Any
) -> None:
    """Cut off in epoch 2, two steps after the last checkpoint: they are written again, what was before stays."""
    fit_cut_off(tmp_path, train_set, make_settings(epochs=3, save_every=1, trackers=["tensorboard"]), interrupt)
    assert steps(events(tmp_path / "tensorboard"), "loss/total") == list(range(1, 7))


def records(path: Path) -> Iterator[Any]:
    """Read wandb's offline file: protocol buffers in LevelDB's log format, with a header of 7 bytes."""
    proto = importlib.import_module("wandb.proto.wandb_internal_pb2")
    content, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:  # the end of a block
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # the whole or the last part
            yield proto.Record.FromString(record)
            record = b""


def entries(name: str, folder: Path) -> tuple[list[tuple[int, float]], dict[str, str]]:
    """Return steps and values of the total loss that a tracker holds, and the run's configuration."""
    if name == "mlflow":
        client = importlib.import_module("mlflow").MlflowClient()
        (run,) = client.search_runs([client.get_experiment_by_name("ipsam").experiment_id])
        history = client.get_metric_history(run.info.run_id, "loss/total")
        return [(entry.step, entry.value) for entry in history], run.data.params
    if name == "trackio":
        storage = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
        (run,) = [one for one in storage.get_runs("ipsam") if one.startswith(f"{folder.parent.name}/{folder.name} ")]
        logs = [entry for entry in storage.get_logs("ipsam", run) if "loss/total" in entry]
        return [(entry["step"], entry["loss/total"]) for entry in logs], storage.get_run_config("ipsam", run)
    history, config = [], {}
    paths = sorted((folder / "trackers/wandb").glob("offline-run-*/run-*.wandb"))
    assert len({path.stem for path in paths}) == 1  # of one run
    for path in paths:
        for record in records(path):
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            if "loss/total" in items:
                history.append((int(items["_step"]), float(items["loss/total"])))
            config |= {item.key: item.value_json.strip('"') for item in record.run.config.update}
            config |= {item.key: item.value_json.strip('"') for item in record.config.update}
    return history, config


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every tracker keep its files below tmp_path."""
    for key, value in {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "MLFLOW_TRACKING_URI": f"file:{tmp_path / 'mlruns'}",
        "MLFLOW_ALLOW_FILE_STORE": "true",
    }.items():
        monkeypatch.setenv(key, value)


@pytest.mark.slow
@pytest.mark.usefixtures("offline", "untyped")
@pytest.mark.parametrize("name", OTHERS)
def test_tracker_goes_on_in_the_same_run(
    tmp_path: Path, make_settings: Any, train_set: TrainSet, interrupt: Any, name: str
) -> None:
    """Cut off two steps after the last checkpoint: these two are trained again, to the same bits."""
    pytest.importorskip(name)
    settings, folder = make_settings(epochs=3, save_every=1, trackers=[name]), tmp_path / "run"
    plain = fit(model_of(1), train_set, tmp_path / "plain", make_settings(epochs=3, trackers=["tensorboard"]))
    tracked = fit_cut_off(folder, train_set, settings, interrupt)
    assert same(plain.state_dict(), tracked.state_dict())
    assert same(*(load_training(run / "checkpoints" / "last") for run in (tmp_path / "plain", folder)))
    straight = events(tmp_path / "plain" / "tensorboard").Scalars("loss/total")
    logged, config = entries(name, folder)
    assert [step for step, _ in logged] == [1, 2, 3, 4, 5, 6]
    assert [value for _, value in logged] == pytest.approx([event.value for event in straight], rel=1e-6)
    assert str(config["engine.epochs"]) == "3"


@pytest.mark.parametrize("name", ["cod_r32/seed0", "ablation/spg/engine.lr=0.001/seed0"])
def test_runs_of_other_experiments_have_other_names(tmp_path: Path, name: str) -> None:
    config = {"paths": {"outputs": str(tmp_path)}}
    assert Trackers([], tmp_path / name, config).label == name
    assert Trackers([], tmp_path / "own" / "run").label == "own/run"


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: ["tensorboard"])
    Trackers(["tensorboard"], tmp_path)
    with pytest.raises(ImportError, match=r"^engine\.trackers=\[wandb\] needs the package wandb: pip install wandb$"):
        Trackers(["tensorboard", "wandb"], tmp_path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # TensorBoard's own thread
@pytest.mark.parametrize("fails", every(3, ["at the first entry", "later", "at the end"]))
def test_full_disk_ends_the_tracker_but_not_the_run(
    tmp_path: Path, train: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: str
) -> None:
    if fails == "at the first entry":
        (tmp_path / "tensorboard").write_text("not a folder")
    elif fails == "later":
        monkeypatch.setattr(RecordWriter, "write", failing(errno.ENOSPC))
    else:
        monkeypatch.setattr(RecordWriter, "close", failing(errno.ENOSPC))
    train(epochs=3, trackers=["tensorboard"])
    assert load_training(tmp_path / "checkpoints" / "last")["progress"]["epoch"] == 3
    assert caplog.text.count("tracker tensorboard ends here: ") == 1


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"tensorboard": 5}', '{"tensorboard": {"logged": {"loss": "x"}}}'])
def test_damaged_record_begins_anew(tmp_path: Path, content: str) -> None:
    path = tmp_path / "trackers" / "runs.json"
    path.parent.mkdir()
    path.write_text(content)
    with Trackers(["tensorboard"], tmp_path) as opened:
        opened.start(3)
        opened.log("loss", {"total": 1.0}, 4)
        opened.log("loss", {"total": 2.0}, 4)
    assert [event.value for event in events(tmp_path / "tensorboard").Scalars("loss/total")] == [1.0]
