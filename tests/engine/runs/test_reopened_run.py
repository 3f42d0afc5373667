"""A finished run, opened for evaluation: as it was, and nothing is written elsewhere."""

import os
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from support.run_folders import CONFIGS, finish

from ipsam.engine.runs.reopen import reopen_run
from ipsam.engine.runs.run_folder import check_run


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
    with pytest.raises(ValueError, match=r"ckpt=\.\.\. is missing: name the folder of a run"):
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
