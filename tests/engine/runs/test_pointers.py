"""The pointers ``last`` and ``best``: as links, as text files, and as the folders of a copied run."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from support.run_folders import finish
from support.saved import MODEL, forbid_links, names, save

from ipsam.engine.runs.checkpoint import INFO, TRAINING, WEIGHTS, damage, load_training
from ipsam.engine.runs.model_folder import find_checkpoint, find_model
from ipsam.engine.runs.reopen import reopen_run
from ipsam.engine.runs.store import Store, follow, point

ONE, TWO, THREE = (f"step_{number:08d}" for number in (1, 2, 3))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "run" / "checkpoints", keep=1)


@pytest.fixture
def copied(store: Store, tmp_path: Path) -> Store:
    """A run of steps 1, the best, and 2, copied with its links followed."""
    for step in (1, 2):
        save(store, step, best=step == 1)
    return Store(shutil.copytree(store.folder, tmp_path / "copy" / "checkpoints"), keep=1)


def pointed(store: Store) -> dict[str, str]:
    return {name: (store.folder / name).readlink().name for name in ("best", "last") if name in names(store.folder)}


def step_of(checkpoint: Path) -> Any:
    return load_training(checkpoint)["progress"]["step"]


def test_results_of_best_have_their_own_folder_without_links(
    run_config: Any, eval_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_links(monkeypatch)
    folder = finish(run_config())
    for name, expected in {"best": "eval/best", "last": "eval", ONE: f"eval/{ONE}"}.items():
        checkpoint, _, out = reopen_run(eval_config(ckpt=str(folder / "checkpoints" / name)))
        assert checkpoint == folder / "checkpoints" / (TWO if name == "last" else ONE)
        assert out == folder / expected
    assert reopen_run(eval_config(ckpt=str(folder)))[2] == folder / "eval"
    newest_is_best = OmegaConf.to_container(eval_config(ckpt=str(folder / "checkpoints" / "best")))
    point(folder / "checkpoints" / "best", TWO)
    assert reopen_run(OmegaConf.create(newest_is_best))[2] == folder / "eval" / "best"


@pytest.mark.parametrize(
    "text",
    ["", f"../{ONE}", "/etc", f"{ONE}/..", "step_1", "last", f"{ONE}\n{TWO}", "\xff" * 99, " " * 1000 + ONE],
)
def test_pointer_names_only_a_checkpoint_beside_it(store: Store, text: str) -> None:
    save(store, 1)
    best = store.folder / "best"
    best.write_bytes(text.encode("latin-1"))
    assert follow(best) == best
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at {best}"):
        find_checkpoint(best)


@pytest.mark.parametrize("step", ["gone", "damaged"])
def test_copy_of_last_replaces_its_step(copied: Store, step: str) -> None:
    if step == "gone":
        shutil.rmtree(copied.folder / TWO)
    else:
        (copied.folder / TWO / WEIGHTS).write_bytes(b"")
    copied.clean_up()
    assert names(copied.folder) == ["best", *([f"damaged-{TWO}"] if step == "damaged" else []), "last", ONE, TWO]
    assert copied.newest() == copied.folder / TWO
    assert step_of(copied.folder / TWO) == 2


def test_without_links_text_files_point(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of pointer replaces the other."""
    save(store, 1)
    with monkeypatch.context() as patch:
        forbid_links(patch)
        for step in (1, 2, 3):
            save(store, step, best=step == 1)
        assert names(store.folder) == ["best", "last", ONE, THREE]
        assert (store.folder / "best").read_text() == f"{ONE}\n"
        assert find_checkpoint(store.folder / "best") == store.folder / ONE
        assert find_model(store.folder / "last") == store.folder / THREE
        store.go_back_to(store.folder / THREE, best_step=3)
        assert (store.folder / "best").read_text() == f"{THREE}\n"
    save(store, 4)
    assert (store.folder / "last").readlink() == Path("step_00000004")


def test_copied_run_resumes(copied: Store) -> None:
    assert not (copied.folder / "last").is_symlink()
    assert step_of(find_checkpoint(copied.folder / "best")) == 1
    copied.clean_up()
    assert names(copied.folder) == ["best", "last", ONE, TWO]
    assert pointed(copied) == {"best": ONE, "last": TWO}
    save(copied, 3)
    assert names(copied.folder) == ["best", "last", ONE, THREE]


def test_copied_run_is_saved_to_without_cleaning_up(copied: Store) -> None:
    (copied.folder / ".new-last" / "x").mkdir(parents=True)
    save(copied, 3, best=True)
    assert pointed(copied) == {"best": THREE, "last": THREE}


def other_checkpoint(last: Path) -> None:
    training = {"optimizer": {}, "rng": [1], "progress": {"step": 2}}
    Store(last.parent).save(2, MODEL, config="model: {}\n", training=training, best=False)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda last: (last / TRAINING).unlink(), "damaged"),
        (lambda last: (last / INFO).write_text("5"), "damaged"),
        (lambda last: (last / INFO).write_text('{"sha256": {}}'), "damaged"),
        (other_checkpoint, "other"),
    ],
)
def test_damaged_or_other_copy_is_set_aside(copied: Store, change: Any, kind: str) -> None:
    change(copied.folder / "last")
    copied.clean_up()
    assert f"{kind}-last" in names(copied.folder)
    assert damage(copied.folder / TWO) is None
