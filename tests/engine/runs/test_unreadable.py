"""A checkpoint that can't be read now is neither damaged nor absent: nothing is removed or replaced because of it."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.saved import forbid_links, names, save, unreadable

from ipsam.engine.runs.checkpoint import INFO, TRAINING, WEIGHTS, damage
from ipsam.engine.runs.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "checkpoints", keep=2)


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING, INFO])
def test_unreadable_checkpoint_stops_resume(store: Store, name: str) -> None:
    """The reason says nothing of what the file holds, so that no older checkpoint may take its place."""
    for step in (1, 2):
        save(store, step)
    unreadable(store.folder / "step_00000002" / name)
    with pytest.raises(
        OSError, match=rf"step_00000002/{name} can't be read: Input/output error.* continue with resume="
    ):
        store.newest()
    assert names(store.folder) == ["last", "step_00000001", "step_00000002"]


def test_unreadable_folder_is_not_an_empty_one(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, 1)
    stat = os.stat

    def refuse(path: Any, **options: Any) -> os.stat_result:
        if Path(path).name == "step_00000001":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(OSError, match="Stale file handle"):
        store.newest()
    monkeypatch.undo()
    monkeypatch.setattr(Path, "iterdir", lambda _: refuse(store.folder / "step_00000001"))
    with pytest.raises(OSError, match="Stale file handle"):
        store.newest()


@pytest.mark.parametrize("state", ["whole", "damaged", "unreadable"])
def test_former_checkpoint_is_kept_until_the_new_one_is_known_to_be_whole(store: Store, state: str) -> None:
    """Killed after a checkpoint of the same step was replaced, just before the former was removed."""
    save(store, 1)
    shutil.copytree(store.folder / "step_00000001", store.folder / ".old-step_00000001")
    new = store.folder / "step_00000001" / TRAINING
    if state == "unreadable":
        unreadable(new)
        with pytest.raises(OSError, match=rf"{new} can't be read: Input/output error"):
            store.clean_up()
        assert damage(store.folder / ".old-step_00000001") is None
        return
    if state == "damaged":
        new.write_bytes(b"")
    store.clean_up()
    assert store.newest() == store.folder / "step_00000001"
    assert names(store.folder) == [*(["damaged-step_00000001"] if state == "damaged" else []), "last", "step_00000001"]


def test_best_is_not_dropped_because_its_pointer_is_unreadable(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        forbid_links(patch)
        for step in (1, 2):
            save(store, step, best=step == 1)
    unreadable(store.folder / "best")
    with pytest.raises(OSError, match="best"):
        save(store, 3)
    assert damage(store.folder / "step_00000001") is None
