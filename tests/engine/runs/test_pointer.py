"""``last`` and ``best``: as links, as text files, and as the folders that a copied run has instead."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from support.run_folders import finish
from support.saved import MODEL, forbid_links, names, save

from ipsam.engine.runs.checkpoint import TRAINING, WEIGHTS, damage, load_training
from ipsam.engine.runs.model_folder import find_checkpoint, find_model
from ipsam.engine.runs.reopen import reopen_run
from ipsam.engine.runs.store import Store, follow, point


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run" / "checkpoints", keep=1)


@pytest.fixture
def copied(store: Store, tmp_path: Path) -> Store:
    """A run of steps 1, the best, and 2, copied with its links followed."""
    for step in (1, 2):
        save(store, step, best=step == 1)
    return Store(shutil.copytree(store.folder, tmp_path / "copy" / "checkpoints"), keep=1)


def step_of(checkpoint: Path) -> int:
    return load_training(checkpoint)["progress"]["step"]  # type: ignore[no-any-return]


def test_without_links_best_is_found_and_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_links(monkeypatch)
    for step in (1, 2, 3):
        save(store, step, best=step == 1)
    assert names(store.folder) == ["best", "last", "step_00000001", "step_00000003"]
    assert (store.folder / "best").read_text() == "step_00000001\n"
    assert find_checkpoint(store.folder / "best") == store.folder / "step_00000001"
    assert find_model(store.folder / "last") == store.folder / "step_00000003"
    store.go_back_to(store.folder / "step_00000003", best_step=3)
    assert (store.folder / "best").read_text() == "step_00000003\n"


def test_each_kind_of_pointer_replaces_the_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, 1)
    with monkeypatch.context() as patch:
        forbid_links(patch)
        save(store, 2)
    assert (store.folder / "last").read_text() == "step_00000002\n"
    save(store, 3)
    assert (store.folder / "last").readlink() == Path("step_00000003")
    assert names(store.folder) == ["last", "step_00000003"]


def test_results_of_best_have_their_own_folder_without_links(
    run_config: Any, eval_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_links(monkeypatch)
    folder = finish(run_config())
    for name, expected in {"best": "eval/best", "last": "eval", "step_00000001": "eval/step_00000001"}.items():
        checkpoint, _, out = reopen_run(eval_config(ckpt=str(folder / "checkpoints" / name)))
        assert checkpoint == folder / "checkpoints" / ("step_00000002" if name == "last" else "step_00000001")
        assert out == folder / expected
    assert reopen_run(eval_config(ckpt=str(folder)))[2] == folder / "eval"
    newest_is_best = OmegaConf.to_container(eval_config(ckpt=str(folder / "checkpoints" / "best")))
    point(folder / "checkpoints" / "best", "step_00000002")
    assert reopen_run(OmegaConf.create(newest_is_best))[2] == folder / "eval" / "best"


@pytest.mark.parametrize(
    "text",
    ["", "../step_00000001", "/etc", "step_00000001/..", "step_1", "last", "step_00000001\nstep_00000002", "\xff" * 99],
)
def test_pointer_names_only_a_checkpoint_beside_it(store: Store, text: str) -> None:
    save(store, 1)
    (store.folder / "best").write_bytes(text.encode("latin-1"))
    assert follow(store.folder / "best") == store.folder / "best"
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at {store.folder / 'best'}"):
        find_checkpoint(store.folder / "best")
    (store.folder / "best").write_bytes(b" " * 1000 + b"step_00000001")
    assert follow(store.folder / "best") == store.folder / "best"


def test_copied_run_goes_on(copied: Store) -> None:
    assert not (copied.folder / "last").is_symlink()
    assert step_of(find_checkpoint(copied.folder / "best")) == 1
    copied.clean_up()
    assert names(copied.folder) == ["best", "last", "step_00000001", "step_00000002"]
    assert [(copied.folder / name).readlink().name for name in ("best", "last")] == ["step_00000001", "step_00000002"]
    save(copied, 3)
    assert names(copied.folder) == ["best", "last", "step_00000001", "step_00000003"]


def test_copied_run_is_no_obstacle_without_cleaning_up(copied: Store) -> None:
    (copied.folder / ".new-last" / "x").mkdir(parents=True)
    save(copied, 3, best=True)
    assert names(copied.folder) == ["best", "last", "step_00000003"]
    assert (copied.folder / "best").readlink() == Path("step_00000003")


def test_lone_copy_of_last_takes_its_place(copied: Store) -> None:
    shutil.rmtree(copied.folder / "step_00000002")
    copied.clean_up()
    assert names(copied.folder) == ["best", "last", "step_00000001", "step_00000002"]
    assert copied.newest() == copied.folder / "step_00000002"
    assert step_of(copied.folder / "step_00000002") == 2


def test_whole_copy_replaces_a_damaged_checkpoint(copied: Store) -> None:
    (copied.folder / "step_00000002" / WEIGHTS).write_bytes(b"")
    copied.clean_up()
    assert names(copied.folder) == ["best", "damaged-step_00000002", "last", "step_00000001", "step_00000002"]
    assert copied.newest() == copied.folder / "step_00000002"


def test_damaged_copy_is_set_aside(copied: Store) -> None:
    (copied.folder / "last" / TRAINING).unlink()
    copied.clean_up()
    assert names(copied.folder) == ["best", "damaged-last", "step_00000001", "step_00000002"]


@pytest.mark.parametrize("about", ["5", '{"sha256": {}}'])
def test_folder_that_is_no_checkpoint_is_set_aside(store: Store, about: str) -> None:
    save(store, 1)
    (store.folder / "best").mkdir()
    (store.folder / "best" / "checkpoint.json").write_text(about)
    save(store, 2, best=True)
    assert names(store.folder) == ["best", "damaged-best", "last", "step_00000002"]


def test_another_checkpoint_of_the_same_step_is_set_aside(copied: Store) -> None:
    training = {"optimizer": {}, "rng": [1], "progress": {"step": 2}}
    copied.save(2, MODEL, config="model: {}\n", training=training, best=False)
    assert damage(copied.folder / "other-last") is None
    assert (copied.folder / "last").readlink() == Path("step_00000002")
