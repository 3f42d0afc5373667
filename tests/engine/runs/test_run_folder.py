import errno
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from support.run_folders import CONFIGS, MODEL, finish
from torch import nn

from ipsam.engine.runs.configuration import compose_experiment, read_config
from ipsam.engine.runs.run_folder import OWN_FOLDERS, check_run, open_run


def begin(config: DictConfig) -> Path:
    """Open a run and leave something in each of its folders."""
    folder, _ = open_run(config, MODEL)
    for name in (*OWN_FOLDERS, "notes"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "file").write_text("old")
    (folder / "train.log").write_text("old")
    return folder


def test_a_new_run_holds_its_configuration(run_config: Any) -> None:
    config = run_config("seed=3")
    folder, resolved = open_run(config, MODEL)
    assert folder == Path(config.run_dir)
    assert (folder / "config.yaml").read_text() == resolved
    assert read_config(folder / "config.yaml") == OmegaConf.to_container(config, resolve=True)


def test_a_run_holds_what_else_is_needed_to_repeat_it(run_config: Any) -> None:
    for overrides in (["seed=3"], ["seed=3", "resume=true"]):
        folder, _ = open_run(run_config(*overrides), MODEL)
    lines = [json.loads(line) for line in (folder / "environment.jsonl").read_text().splitlines()]
    assert len(lines) == 2  # the beginning, and each time it went on
    for environment in lines:
        assert environment["seed"] == 3
        assert environment["packages"]["torch"] == version("torch")
        assert environment["parameters"] == {"param": pytest.approx(111e-6), "t_param": pytest.approx(100e-6)}
        assert environment["packages"].keys() >= {"ipsam", "torch", "sam2", "peft", "numpy", "hydra-core"}
        assert environment.keys() >= {"command", "started", "python", "revision", "uncommitted"}
        revision = environment["revision"]  # None where the package came without a repository
        assert revision is None or (len(revision) == 40 and int(revision, 16))


def test_the_folder_tells_experiment_and_seed() -> None:
    config = compose_experiment(CONFIGS, "ablation/spg", ["seed=2", "paths.outputs=/out"])
    assert config.run_dir == "/out/ablation/spg/seed2"


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_existing_run_is_refused(run_config: Any) -> None:
    folder = begin(run_config())
    before = everything(folder)
    with pytest.raises(ValueError, match=rf"{folder} already holds a run: .*resume=true.*overwrite=true.*run_dir="):
        check_run(run_config("engine.epochs=7"))
    assert everything(folder) == before


def test_a_folder_without_a_run_is_taken(run_config: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    check_run(run_config())
    folder, _ = open_run(run_config(), MODEL)
    assert (folder / "notes.txt").read_text() == "mine"
    check_run(run_config())  # a run that failed before its first checkpoint is no run yet


def test_overwrite_deletes_the_runs_own_folders_alone(run_config: Any) -> None:
    folder = begin(run_config())
    check_run(run_config("overwrite=true", "engine.epochs=7"))
    open_run(run_config("overwrite=true", "engine.epochs=7"), MODEL)
    assert not any((folder / name).exists() for name in OWN_FOLDERS)
    assert (folder / "notes" / "file").read_text() == "old"
    assert (folder / "train.log").read_text() == "old"
    assert read_config(folder / "config.yaml").engine.epochs == 7


def test_resume_takes_the_same_settings(run_config: Any) -> None:
    folder = begin(run_config())
    check_run(run_config("resume=true"))
    again, _ = open_run(run_config("resume=true"), MODEL)
    assert again == folder
    assert all((folder / name / "file").read_text() == "old" for name in OWN_FOLDERS)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("engine.lr=0.5", r"engine\.lr: [\d.e-]+ -> 0\.5"),
        ("engine.epochs=99", r"engine\.epochs: \d+ -> 99"),
        ("model.lateral=null", r"model\.lateral"),
        ("data.synthetic.num_train=7", r"data\.synthetic\.num_train: \d+ -> 7"),
        ("data.scaled_decode=true", r"data\.scaled_decode: False -> True"),
        ("data.augment.hflip=0.1", r"data\.augment\.hflip: [\d.]+ -> 0\.1"),
        ("seed=5", r"seed: 0 -> 5"),
    ],
)
def test_resume_with_other_settings_is_refused(run_config: Any, override: str, told: str) -> None:
    folder = begin(run_config())
    before = everything(folder)
    with pytest.raises(ValueError, match=rf"begun with other settings \(.*{told}.*run_dir="):
        check_run(run_config("resume=true", override))
    assert everything(folder) == before


@pytest.mark.parametrize(
    "override",
    [
        "paths.data=/elsewhere",
        "paths.checkpoints=/elsewhere",
        "engine.num_workers=3",
        "data.test=[]",
        "data.cache=/elsewhere",
    ],
)
def test_resume_may_change_what_changes_no_weight(run_config: Any, override: str) -> None:
    begin(run_config())
    check_run(run_config("resume=true", override))


def test_resume_may_find_the_base_checkpoint_elsewhere(tmp_path: Path) -> None:
    """The file's sha256 is checked when the weights are loaded; where it lies changes nothing."""
    given = [f"run_dir={tmp_path}", "engine.cpu=true"]
    begin(compose_experiment(CONFIGS, "cod_r32", given))
    check_run(compose_experiment(CONFIGS, "cod_r32", [*given, "resume=true", "paths.checkpoints=/elsewhere"]))


def test_resume_without_a_run_begins_one(run_config: Any) -> None:
    check_run(run_config("resume=true"))
    folder, _ = open_run(run_config("resume=true"), MODEL)
    assert (folder / "config.yaml").is_file()


@pytest.mark.parametrize("seed", ["-1", "1.5", "a", "null"])
def test_an_impossible_seed_is_refused(run_config: Any, seed: str) -> None:
    with pytest.raises(ValueError, match="seed must be a whole number, 0 or above, not"):
        check_run(run_config(f"seed={seed}"))


def test_resume_and_overwrite_exclude_each_other(run_config: Any) -> None:
    with pytest.raises(ValueError, match=r"resume=true .*overwrite=true .*set one"):
        check_run(run_config("resume=true", "overwrite=true"))


def test_a_full_disk_leaves_the_runs_configuration_whole(run_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finish(run_config())
    (folder / "config.yaml").write_text(before := (folder / "config.yaml").read_text() + "# as it was\n")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as told:
        open_run(run_config("resume=true"), nn.Linear(1, 1))
    assert told.value.filename == str(folder / "config.yaml")
    assert (folder / "config.yaml").read_text() == before
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_overwriting_that_is_cut_short_leaves_no_run(run_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = finish(run_config())
    (folder / "eval").mkdir()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            open_run(run_config("overwrite=true"), nn.Linear(1, 1))
    assert not (folder / "checkpoints").exists()
    check_run(run_config())
    open_run(run_config("overwrite=true"), nn.Linear(1, 1))
    assert not (folder / "eval").exists()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".old")] == []
