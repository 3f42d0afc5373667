import errno
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from builders import micro_model
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ipsam.engine.config import compose_experiment, read_config
from ipsam.engine.run import OWN_FOLDERS, check_run, open_run, reopen_run
from ipsam.engine.store import Store

CONFIGS = Path(__file__).parents[2] / "configs"
MODEL = nn.Sequential(nn.Linear(9, 10), nn.Linear(10, 1).requires_grad_(False))


@pytest.fixture
def run_config(tmp_path: Path) -> Any:
    """The quickstart's configuration, its run in tmp_path / run."""

    def compose(*overrides: str) -> DictConfig:
        return compose_experiment(CONFIGS, "quickstart", [f"run_dir={tmp_path / 'run'}", "engine.cpu=true", *overrides])

    return compose


@pytest.fixture
def eval_config(tmp_path: Path) -> Any:
    """What configs/eval.yaml holds, pointing to the run in tmp_path / run."""

    def load(**changes: Any) -> DictConfig:
        config = OmegaConf.load(CONFIGS / "eval.yaml")
        config.ckpt = str(tmp_path / "run")
        return OmegaConf.merge(config, changes)

    return load


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
    with pytest.raises(ValueError, match=rf"{folder} holds a run already: .*resume=true.*overwrite=true.*run_dir="):
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
    "override", ["paths.data=/elsewhere", "paths.checkpoints=/elsewhere", "engine.num_workers=3", "data.test=[]"]
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


def finish(config: DictConfig) -> Path:
    folder, resolved = open_run(config, MODEL)
    checkpoints = Store(folder / "checkpoints", keep=2)
    for step in (1, 2):
        checkpoints.save(step, micro_model(), config=resolved, training={}, best=step == 1)
    return folder


def test_a_finished_run_is_reopened_as_it_was(run_config: Any, eval_config: Any, tmp_path: Path) -> None:
    folder = finish(run_config())
    checkpoint, config, out = reopen_run(eval_config())
    assert checkpoint == folder / "checkpoints" / "step_00000002"
    assert config == OmegaConf.to_container(run_config(), resolve=True)
    assert out == folder / "eval"


def test_other_evaluations_replace_no_scores_of_the_run(run_config: Any, eval_config: Any) -> None:
    folder = finish(run_config())
    own = {"name": "own", "images": "i", "masks": "m"}
    results = {
        "last": folder / "eval",
        "best": folder / "eval" / "best",
        "step_00000001": folder / "eval" / "step_00000001",
        "step_00000002": folder / "eval",
    }
    for name, expected in results.items():
        checkpoint, _, out = reopen_run(eval_config(ckpt=str(folder / "checkpoints" / name)))
        assert checkpoint == folder / "checkpoints" / name
        assert out == expected
    assert reopen_run(eval_config(data={"test": ["CAMO", own]}))[2] == folder / "eval" / "CAMO+own"
    best = eval_config(ckpt=str(folder / "checkpoints" / "best"), data={"test": ["NC4K"]})
    assert reopen_run(best)[2] == folder / "eval" / "best" / "NC4K"
    assert reopen_run(eval_config(protocol="sam2_adapter"))[2] == folder / "eval" / "sam2_adapter"
    assert reopen_run(eval_config(protocol={"size": 64}))[2] == folder / "eval" / "size=64"
    assert reopen_run(eval_config(protocol={"size": None}))[2] == folder / "eval"
    assert reopen_run(eval_config(data={"exclude": ["x"]}))[2] == folder / "eval" / "other_images"


def test_what_is_given_replaces_the_runs_own(run_config: Any, eval_config: Any, tmp_path: Path) -> None:
    finish(run_config())
    changes = {
        "data": {"test": ["CAMO", {"name": "own", "images": "i", "masks": "m"}], "exclude": ["x"]},
        "engine": {"eval_batch_size": 3, "cpu": True},
        "paths": {"data": "/data"},
        "base": "/base.pt",
        "out": str(tmp_path / "out"),
    }
    _, config, out = reopen_run(eval_config(**changes))
    assert config.data.test == changes["data"]["test"]
    assert config.data.exclude == ["x"]
    assert config.data.root == "/data"
    assert config.data.image_size == run_config().data.image_size  # since nothing else was given
    assert config.engine.eval_batch_size == 3
    assert config.model.backbone.checkpoint == "/base.pt"
    assert out == tmp_path / "out"


def test_no_run_no_evaluation(eval_config: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="say what to evaluate: ckpt="):
        reopen_run(OmegaConf.load(CONFIGS / "eval.yaml"))
    with pytest.raises(FileNotFoundError, match=rf"no model at {tmp_path}/none: give the folder of a run"):
        reopen_run(eval_config(ckpt=f"{tmp_path}/none"))


@pytest.mark.parametrize("link", ["eval", "eval/metrics.json", "checkpoints/step_00000009", "tensorboard/deep/log"])
@pytest.mark.parametrize("there", [True, False], ids=["to something", "to nothing yet"])
def test_links_out_of_a_runs_folder_are_refused(
    run_config: Any, eval_config: Any, tmp_path: Path, link: str, there: bool
) -> None:
    """Else who unpacks somebody's run would write wherever that somebody says."""
    folder = finish(run_config())
    (tmp_path / "mine").mkdir()
    target = tmp_path / "mine" if there else tmp_path / "mine" / "file"
    (folder / link).parent.mkdir(parents=True, exist_ok=True)
    (folder / link).symlink_to(target)
    refused = rf"{folder}/{link} is a link that leads out of {folder}, to {target}; .*remove the link"
    with pytest.raises(ValueError, match=refused):
        reopen_run(eval_config())
    with pytest.raises(ValueError, match=refused):
        reopen_run(eval_config(out=str(folder / "eval" / "other")))
    for option in ("resume=true", "overwrite=true"):
        with pytest.raises(ValueError, match=refused):
            check_run(run_config(option))
    assert reopen_run(eval_config(out=str(tmp_path / "out")))[2] == tmp_path / "out"


def test_a_pipe_in_a_runs_folder_is_refused(run_config: Any, eval_config: Any) -> None:
    folder = finish(run_config())
    (folder / "eval").mkdir()
    os.mkfifo(folder / "eval" / "metrics.json")
    with pytest.raises(ValueError, match=r"eval/metrics\.json is neither a file nor a folder; remove it"):
        reopen_run(eval_config())


def test_a_runs_folder_may_itself_be_a_link(run_config: Any, eval_config: Any, tmp_path: Path) -> None:
    folder = finish(run_config())
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    check_run(run_config("resume=true"))
    assert reopen_run(eval_config())[2] == folder / "eval"


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
