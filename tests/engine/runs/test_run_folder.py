"""A run's folder: begun, refused, resumed with the same settings, overwritten."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from support.quick import every
from support.run_folders import CONFIGS, MODEL, finish
from support.saved import failing

from ipsam.engine.runs.configuration import compose_experiment, read_config
from ipsam.engine.runs.run_folder import ADDED, OWN_FOLDERS, begin_run, check_run, open_run


def begin(config: DictConfig) -> Path:
    """Open a run and leave something in each of its folders."""
    folder, _ = open_run(config, MODEL)
    for name in (*OWN_FOLDERS, "notes"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "file").write_text("old")
    (folder / "train.log").write_text("old")
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_new_run_holds_its_configuration(run_config: Any) -> None:
    config = run_config("seed=3")
    folder, resolved = open_run(config, MODEL)
    assert (folder / "config.yaml").read_text() == resolved
    assert read_config(folder / "config.yaml") == OmegaConf.to_container(config, resolve=True)
    config = compose_experiment(CONFIGS, "ablation/spg", ["seed=2", "paths.outputs=/out"])
    assert config.run_dir == "/out/ablation/spg/seed2"


def test_existing_run_is_refused(run_config: Any) -> None:
    folder = begin(run_config())
    before = everything(folder)
    with pytest.raises(ValueError, match=rf"{folder} already holds a run: .*resume=true.*overwrite=true.*run_dir="):
        check_run(run_config("engine.epochs=7"))
    assert everything(folder) == before


def test_folder_without_a_run_is_taken(run_config: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    check_run(run_config("resume=true"))
    folder, _ = open_run(run_config("resume=true"), MODEL)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "config.yaml").is_file()
    check_run(run_config())  # a run that failed before its first checkpoint


def test_overwrite_deletes_only_the_runs_own_folders(run_config: Any) -> None:
    folder = begin(run_config())
    config = run_config("overwrite=true", "engine.epochs=7")
    check_run(config)
    open_run(config, MODEL)
    assert not any((folder / name).exists() for name in OWN_FOLDERS)
    assert (folder / "notes" / "file").read_text() == "old"
    assert (folder / "train.log").read_text() == "old"
    assert read_config(folder / "config.yaml").engine.epochs == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("engine.lr=0.5", r"engine\.lr: [\d.e-]+ -> 0\.5"),
        ("engine.epochs=8", r"engine\.epochs: 9 -> 8"),
        ("model.lateral=null", r"model\.lateral"),
        ("data.synthetic.num_train=7", r"data\.synthetic\.num_train: \d+ -> 7"),
        ("data.augment.hflip=0.1", r"data\.augment\.hflip: [\d.]+ -> 0\.1"),
        ("seed=5", r"seed: 0 -> 5"),
        ("model=ipsam", r"model\.backbone.*; and \d+ more\): resume with the same"),
    ],
)
def test_resuming_with_other_settings_is_refused(run_config: Any, override: str, message: str) -> None:
    folder = begin(run_config())
    before = everything(folder)
    with pytest.raises(ValueError, match=rf"begun with other settings \(.*{message}.*run_dir="):
        check_run(run_config("resume=true", override))
    assert everything(folder) == before


@pytest.mark.parametrize(
    "override",
    [
        # The sha256 of the base checkpoint is checked when the weights are loaded.
        *("paths.data=/elsewhere", "model.backbone.checkpoint=/elsewhere", "data.cache=/elsewhere"),
        *("engine.num_workers=3", "data.test=[]", "resume=true"),
    ],
)
def test_resuming_may_change_settings_without_influence(run_config: Any, override: str) -> None:
    folder = begin(run_config())
    check_run(run_config("resume=true", override))
    assert open_run(run_config("resume=true", override), MODEL)[0] == folder
    assert all((folder / name / "file").read_text() == "old" for name in OWN_FOLDERS)


def test_change_that_is_allowed_by_name_is_logged(run_config: Any, caplog: pytest.LogCaptureFixture) -> None:
    begin(run_config())
    change = ("resume=true", "engine.lr=0.5", "engine.clip=0.1")
    with pytest.raises(ValueError, match=r"engine\.clip: .*allow_change=\[engine\.clip,engine\.lr\]"):
        check_run(run_config(*change))
    with pytest.raises(ValueError, match=r"other settings \(engine\.clip: 1\.0 -> 0\.1\)"):
        check_run(run_config(*change, "allow_change=[engine.lr]"))
    check_run(run_config(*change, "allow_change=[engine.lr,engine.clip]"))
    assert "resuming with another setting, engine.lr: 0.0007 -> 0.5" in caplog.text
    open_run(run_config(*change, "allow_change=[engine.lr,engine.clip]"), MODEL)
    check_run(run_config(*change))  # now the settings of the run


def test_epochs_may_grow_and_shrink_to_those_begun(run_config: Any, caplog: pytest.LogCaptureFixture) -> None:
    folder = begin(run_config())
    check_run(run_config("resume=true", "engine.epochs=12"))
    assert "resuming with another setting, engine.epochs: 9 -> 12" in caplog.text
    for number, (epoch, batch) in enumerate([(3, 0), (4, 0), (4, 2)]):
        step = folder / "checkpoints" / f"step_0000000{number}"
        step.mkdir()
        (step / "checkpoint.json").write_text(json.dumps({"epoch": epoch, "batch": batch}))
        begun = epoch + (batch > 0)
        shorter = ("resume=true", "allow_change=[engine.epochs]")
        check_run(run_config(*shorter, f"engine.epochs={begun}"))
        with pytest.raises(ValueError, match=rf"engine\.epochs={begun - 1} is fewer than the {begun} that the run in"):
            check_run(run_config(*shorter, f"engine.epochs={begun - 1}"))


@pytest.mark.parametrize(
    "key", ["seed", "model.lateral", "data.augment.hflip", "engine.accumulate", "engine.groups", "engine.lrr"]
)
def test_only_training_can_be_allowed_to_change(run_config: Any, key: str) -> None:
    begin(run_config())
    with pytest.raises(
        ValueError, match=rf"allow_change=\[{key}\]: only these can change .*: engine\.epochs, engine\.lr"
    ):
        check_run(run_config("resume=true", f"allow_change=[{key}]"))


def fail(config: DictConfig, *folders: str) -> None:
    """Begin a run that runs out of memory, after it has made these folders."""
    with begin_run(config):
        run, _ = open_run(config, MODEL)
        for name in folders:
            (run / name).mkdir()
        raise MemoryError


@pytest.mark.parametrize("existed", [False, True])
def test_failed_start_leaves_nothing(run_config: Any, tmp_path: Path, existed: bool) -> None:
    run = tmp_path / "outputs" / "run"
    if existed:
        run.mkdir(parents=True)
        (run / "train.log").write_text("mine\n")
    before = everything(tmp_path)
    with pytest.raises(MemoryError):
        fail(run_config(f"run_dir={run}"))
    assert everything(tmp_path) == before
    assert run.parent.exists() is existed


def test_start_that_is_ended_leaves_nothing(run_config: Any, tmp_path: Path) -> None:
    """torchrun ends the main process by SIGTERM if another one fails first; a duplicate does no harm."""

    def start() -> None:
        with begin_run(run_config(f"run_dir={tmp_path / 'outputs' / 'run'}")):
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

    process = multiprocessing.get_context("fork").Process(target=start)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", OWN_FOLDERS)
def test_failed_run_keeps_what_it_has_done(run_config: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(MemoryError):
        fail(run_config(), name)
    assert {"config.yaml", "train.log", name} <= {path.name for path in (tmp_path / "run").iterdir()}


@pytest.mark.parametrize("key", every(6, ADDED))
def test_run_without_a_newer_setting_resumes(run_config: Any, key: str) -> None:
    is_newer = f"++{key}={json.dumps(ADDED[key])}"  # ++: some settings belong to other models
    folder = begin(run_config(is_newer))
    config = read_config(folder / "config.yaml")
    section, _, name = key.rpartition(".")
    del OmegaConf.select(config, section)[name]
    OmegaConf.save(config, folder / "config.yaml")
    check_run(run_config("resume=true", is_newer))
    with pytest.raises(ValueError, match=rf"{key}: None -> {not ADDED[key]}"):
        check_run(run_config("resume=true", f"++{key}={json.dumps(not ADDED[key])}"))


def test_run_begun_before_there_were_plans_resumes(run_config: Any) -> None:
    folder = begin(run_config())
    config = read_config(folder / "config.yaml")
    del config["plan"]
    OmegaConf.save(config, folder / "config.yaml")
    check_run(run_config("resume=true"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        *(([f"seed={seed}"], "seed must be a whole number, 0 or above, not") for seed in ("-1", "1.5", "a", "null")),
        (["resume=true", "overwrite=true"], r"resume=true .*overwrite=true .*set one"),
    ],
)
def test_impossible_start_is_refused(run_config: Any, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_run(run_config(*overrides))


def test_full_disk_leaves_the_configuration_intact(run_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finish(run_config())
    (folder / "config.yaml").write_text(before := (folder / "config.yaml").read_text() + "# as it was\n")

    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left") as error:
        open_run(run_config("resume=true"), MODEL)
    assert error.value.filename == str(folder / "config.yaml")
    assert (folder / "config.yaml").read_text() == before
    assert hidden(folder) == []


def test_interrupted_overwriting_leaves_no_run(run_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finish(run_config())
    (folder / "eval").mkdir()

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output error"):
            open_run(run_config("overwrite=true"), MODEL)
    assert not (folder / "checkpoints").exists()
    check_run(run_config())
    open_run(run_config("overwrite=true"), MODEL)
    assert not (folder / "eval").exists()
    assert hidden(folder) == []
