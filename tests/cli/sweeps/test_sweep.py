"""Sweeps on one machine: folders, devices, failures, signals, the table."""

import csv
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ipsam.cli.sweeps.cluster import _goes_on
from ipsam.cli.sweeps.runs import folder_name
from ipsam.cli.sweeps.sweep import expanded

TRAIN = ("-m", "experiment=quickstart")


def table() -> list[dict[str, str]]:
    (path,) = Path("outputs/sweeps").glob("*/sweep.csv")
    return list(csv.DictReader(path.read_text().splitlines()))


def test_folders_and_table_show_what_varies(script: Callable[..., Any], fake: Any) -> None:
    """Experiment and seed are in a folder's name already; what is the same in all runs is not."""
    calls = fake()
    given = ["seed=0,1", "engine.lr=1e-4,2e-4", "engine.epochs=1", "paths.data=a b"]
    done = script("train", *TRAIN, *given, "hydra.launcher.devices=[cpu,cpu]")
    assert done.status == 0, done.err
    folders = {one["folder"] for one in calls()}
    assert folders == {
        f"outputs/quickstart/engine.lr={lr}/seed{seed}" for lr in ("0.0001", "0.0002") for seed in (0, 1)
    }
    assert {one["full"] for one in calls() if one["kind"] == "begin"} == {"0"}
    assert all('paths.data="a b"' in one["arguments"] for one in calls())
    rows = table()
    assert [(row["seed"], row["engine.lr"], row["dataset"], row["sm"], row["result"]) for row in rows] == [
        (seed, lr, "own", lr, "done") for seed in "01" for lr in ("0.0001", "0.0002")
    ]
    assert "engine.epochs" not in rows[0]
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert "| run | seed | engine.lr | dataset |" in " ".join(done.out.split())


def test_a_plain_sweep_has_the_folders_of_single_runs(script: Callable[..., Any], fake: Any) -> None:
    calls = fake()
    assert script("train", "-m", "experiment=quickstart,micro", "seed=3", "hydra.launcher.devices=[0]").status == 0
    assert {one["folder"] for one in calls()} == {"outputs/quickstart/seed3", "outputs/micro/seed3"}
    assert all("run_dir" not in text for one in calls() for text in one["arguments"])


@pytest.mark.slow
def test_a_folder_of_ones_own_gets_all_that_varies(script: Callable[..., Any], fake: Any) -> None:
    calls = fake()
    assert script("train", *TRAIN, "seed=0,1", "run_dir=own").status == 0
    assert {one["folder"] for one in calls()} == {"own/seed=0", "own/seed=1"}
    message = script("train", *TRAIN, "seed=0,1", "run_dir='own${engine.lr}'").error
    assert "several runs of the sweep would use own0.0007: " in message


def test_failed_run_ends_itself_alone(script: Callable[..., Any], fake: Any) -> None:
    calls = fake("if given['seed'] == '1': sys.exit('error: no')")
    message = script("train", *TRAIN, "seed=0,1,2").error
    assert "1 of 3 runs failed: run 1" in message
    assert [one["folder"][-1] for one in calls() if one["kind"] == "end"] == ["0", "2"]
    assert [row["result"] for row in table()] == ["done", "failed (1)", "done"]
    assert [row["sm"] for row in table()] == ["1.0", "", "1.0"]


@pytest.mark.parametrize(("kills", "result"), [(2, "done"), (9, "killed")])
def test_killed_run_is_resumed(script: Callable[..., Any], fake: Any, kills: int, result: str) -> None:
    body = f"log.read_text().count('begin') <= {kills} and os.kill(os.getpid(), signal.SIGKILL)"
    calls = fake(body)
    done = script("train", *TRAIN, "seed=0", "overwrite=true")
    assert (done.status == 0) == (result == "done")
    begun = [one["arguments"] for one in calls() if one["kind"] == "begin"]
    assert ["resume=true" in one for one in begun] == [False, True, True]
    assert begun[1][-2:] == ["resume=true", "overwrite=false"]
    assert [(row["starts"], row["result"]) for row in table()] == [("3", result)]


def test_each_device_has_one_run_at_a_time(script: Callable[..., Any], fake: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "0.1")
    calls = fake()
    assert script("train", *TRAIN, "seed=range(4)", "hydra.launcher.devices=[7,9]").status == 0
    busy: list[str] = []
    for one in calls():
        if one["kind"] == "begin":
            assert one["device"] not in busy
            busy.append(one["device"])
        else:
            busy.remove(one["device"])
    assert {one["device"] for one in calls()} == {"7", "9"}
    assert len(list(Path("outputs/sweeps").glob("*/run*.log"))) == 4


def test_stopped_sweep_stops_its_runs(script: Callable[..., Any], fake: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "60")
    calls = fake()

    def stop() -> None:
        while not Path("calls.jsonl").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    done = script("train", *TRAIN, "seed=0,1,2")
    assert done.status == 128 + signal.SIGTERM
    assert "the sweep is stopped on request; 0 of 3 runs are finished. Continue with the same command" in done.err
    assert [one["kind"] for one in calls()] == ["begin", "stopped"]
    assert [row["result"] for row in table()] == ["stopped", "not ended", "not ended"]


def test_torchrun_is_refused(script: Callable[..., Any], monkeypatch: Any) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "torchrun starts one run" in script("train", *TRAIN, "seed=0,1").error


@pytest.mark.parametrize("given", ["devices=7", "retries=-1", "retries=a"])
def test_bad_settings_of_the_launcher_are_named(script: Callable[..., Any], given: str) -> None:
    assert f"hydra.launcher.{given.partition('=')[0]}" in script("train", *TRAIN, f"hydra.launcher.{given}").error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["hydra.launcher.cluster=slurm"],
            'Could not detect "srun", are you indeed on a slurm cluster? Start the sweep',
        ),
        (
            ["hydra.launcher.cluster=local", "+hydra.launcher.slurm_foo=1"],
            "Unknown argument 'foo' for executor 'slurm'",
        ),
        (["hydra.launcher.cluster=pbs"], "doesn't know any executor named pbs"),
        (["hydra.launcher.max_timeouts=-1"], "hydra.launcher.max_timeouts must be a whole number, 0 or above"),
        ([], "hydra/launcher=slurm needs submitit: pip install -e '.[slurm]'"),
    ],
    ids=str,
)
def test_refusals_of_a_cluster_are_explained(
    script: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, given: list[str], message: str
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "")
    if not given:
        monkeypatch.setitem(sys.modules, "submitit", None)
    assert message in script("train", *TRAIN, "hydra/launcher=slurm", *given).error


@pytest.mark.parametrize(("state", "goes_on"), [("RUNNING", True), ("COMPLETING", False)])
def test_a_cancelled_job_is_not_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, goes_on: bool
) -> None:
    """After scancel a job is completing, before preemption running; each task of an array has its own state."""
    path = tmp_path / "scontrol"
    path.write_text(f'#!/bin/sh\n[ "$*" = "show job 5_1" ] && echo " JobState={state} Reason=None"\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert _goes_on("5_1") is goes_on


def test_patterns_find_files_of_a_groups_folders() -> None:
    found = expanded("experiment=glob(ablation/*,exclude=*/lora_*)").partition("=")[2].split(",")
    assert {"ablation/spg", "ablation/baseline"} < set(found)
    assert not any("lora" in name for name in found)
    assert expanded("experiment=glob(cod*)") == "experiment=glob(cod*)"  # Hydra finds them
    with pytest.raises(ValueError, match=r"experiment=glob\(none/\*\): no file of configs/experiment matches"):
        expanded("experiment=glob(none/*)")
    assert expanded("paths.outputs=~/a") == f"paths.outputs={Path.home()}/a"


def test_names_of_folders_differ_as_the_values_do() -> None:
    values = ["[a/b]", "[a:b]", "a" * 200, "a" * 201, "1e-4"]
    names = [folder_name({"key": value}) for value in values]
    assert len(set(names)) == len(values)
    assert all(len(name) < 200 and "/" not in name for name in names)
    assert names[-1] == "key=1e-4"
