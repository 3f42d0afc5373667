"""A run's checkpoints: found, kept and removed, whatever happens while one is written or read."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.saved import failing, forbid_links, limited_files, names, save, unreadable

from ipsam.engine.runs.checkpoint import INFO, TRAINING, WEIGHTS, damage, load_training
from ipsam.engine.runs.model_folder import find_checkpoint
from ipsam.engine.runs.store import Store


class KilledError(BaseException):
    """End of the process, without any cleaning up of its own."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "checkpoints", keep=2)


def step(number: int) -> str:
    return f"step_{number:08d}"


def spoil(store: Store, *steps: int) -> None:
    for number in steps:
        (store.folder / step(number) / WEIGHTS).write_bytes(b"")


def test_newest_and_best_are_kept(store: Store) -> None:
    assert store.newest() is None
    for number in (9, 10, 11, 100):  # by number, not by name
        save(store, number, best=number == 9)
    assert names(store.folder) == ["best", "last", step(9), step(11), step(100)]
    assert os.readlink(store.folder / "best") == step(9)
    assert os.readlink(store.folder / "last") == step(100)
    assert store.newest() == store.folder / step(100)
    save(store, 101, best=True)
    assert names(store.folder) == ["best", "last", step(100), step(101)]


def test_saving_survives_an_old_checkpoint_that_cannot_be_removed(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (1, 2):
        save(store, number)
    monkeypatch.setattr(store, "_remove", lambda folder: (_ for _ in ()).throw(OSError(errno.EACCES, "denied")))
    save(store, 3)
    assert store.newest() == store.folder / step(3)
    assert "older checkpoints in" in caplog.text


def test_run_and_checkpoint_are_found(store: Store, tmp_path: Path) -> None:
    for number in (1, 2):
        save(store, number, best=number == 1)
    best = store.folder / step(1)
    for path, found in {tmp_path: 2, store.folder / "last": 2, store.folder / "best": 1, best: 1}.items():
        assert find_checkpoint(path).resolve() == store.folder / step(found)
    for nowhere in (tmp_path / "nowhere", store.folder, best / WEIGHTS):
        with pytest.raises(FileNotFoundError, match=rf"no checkpoint at {nowhere}: give a run's folder"):
            find_checkpoint(nowhere)


@contextmanager
def killed_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Kill the process at the given one of the system calls that writing a checkpoint takes."""
    made: list[str] = []

    def count(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            if len(made) == number:
                raise KilledError
            return original(*arguments, **options)

        patch.setattr(owner, name, call)

    with monkeypatch.context() as patch:
        calls = {os: ("fsync", "replace"), shutil: ("rmtree",), Path: ("mkdir", "rename", "symlink_to")}
        for owner, names_of in calls.items():
            for name in names_of:
                count(owner, name)
        yield made


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_killed_anywhere_a_checkpoint_is_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """At every call in turn, also where a damaged folder of the same step is replaced and an old one removed."""
    if not links:
        forbid_links(monkeypatch)
    killed = 0
    for number in range(1, 100):
        store = Store(tmp_path / str(number), keep=1)
        save(store, 1)
        save(Store(store.folder, keep=2), 2)
        (store.folder / step(2) / WEIGHTS).write_bytes(b"damaged")
        try:
            with killed_at(number, monkeypatch) as made:
                save(store, 2)
        except KilledError:
            killed += 1
        found = store.newest()
        assert found is not None
        assert damage(found) is None
        assert load_training(found)["progress"]["step"] in (1, 2)
        save(store, 3)  # leftovers are no obstacle
        assert [name for name in names(store.folder) if not name.startswith(".")] == ["last", step(3)]
        if len(made) < number:
            break
    assert killed == len(made) > 10


def test_damaged_checkpoints_are_named_and_skipped(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for number in (1, 10, 11):
        save(store, number, best=number == 1)
    spoil(store, 10, 11)
    assert store.newest() == store.folder / step(1)
    assert f"{step(11)}: model.safetensors is damaged" in caplog.text
    save(store, 5)  # not removed for the damaged newer ones
    assert os.readlink(store.folder / "last") == step(5)
    for number in (1, 5):
        (store.folder / step(number) / TRAINING).unlink()
    damaged = rf"all 3 checkpoints in .* are damaged \({step(11)}: model.*, {step(5)}: training\.pt is.*resume=true"
    with pytest.raises(ValueError, match=damaged):
        store.newest()
    assert names(store.folder) == ["best", "last", *map(step, (1, 5, 11))]


def test_going_back_sets_newer_and_damaged_checkpoints_aside(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    store.keep = 3
    for number in (2, 4, 5):
        save(store, number, best=number == 5)
    spoil(store, 2, 5)
    for leftover in (f".gone-{step(1)}", f".new-{step(6)}"):
        (store.folder / leftover).mkdir()
    (store.folder / ".new-last").symlink_to("nowhere")
    store.clean_up()
    store.go_back_to(store.folder / step(4), best_step=None)
    assert f"{step(5)} is set aside as damaged-{step(5)}" in caplog.text
    aside = [f"damaged-{step(2)}", f"damaged-{step(5)}"]
    assert names(store.folder) == ["best", *aside, "last", step(4)]
    assert os.readlink(store.folder / "last") == step(4)
    store.go_back_to(store.folder / step(4), best_step=4)
    assert os.readlink(store.folder / "best") == step(4)
    for _ in range(2):  # nothing that was set aside is replaced
        save(store, 5)
        store.go_back_to(store.folder / step(4), best_step=4)
    assert names(store.folder) == ["best", *aside, *(f"damaged-{step(5)}-{count}" for count in (2, 3)), "last", step(4)]


def test_checkpoint_about_to_be_replaced_is_restored(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renaming the new checkpoint fails, after the former one of its step was moved away."""
    rename, store.keep = Path.rename, 1
    save(store, 2)

    def fail_with(error: BaseException, patch: pytest.MonkeyPatch) -> None:
        def fail(path: Path, target: Path) -> None:
            if path.name.startswith(".new-"):
                raise error
            rename(path, target)

        patch.setattr(Path, "rename", fail)

    with monkeypatch.context() as patch:
        fail_with(KilledError(), patch)
        with pytest.raises(KilledError):
            save(store, 2)
    assert store.newest() is None
    store.clean_up()
    assert store.newest() == store.folder / step(2)
    with monkeypatch.context() as patch:
        fail_with(OSError(errno.EIO, os.strerror(errno.EIO)), patch)
        with pytest.raises(OSError, match=f"Input/output error; {step(2)} is intact"):
            save(store, 2)
    assert names(store.folder) == ["last", step(2)]


def test_full_disk_leaves_the_former_checkpoint_intact(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses to let files grow in the middle of the weights, or to flush them."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.ENOSPC))
        with pytest.raises(OSError, match=r"No space .*; there is no earlier one"):
            save(store, 1)
    assert names(store.folder) == []
    save(store, 1)
    refused = r"checkpoint of step 2 .* to .*checkpoints: File too large"
    with limited_files(100_000), pytest.raises(OSError, match=refused) as error:
        save(store, 2)
    assert f"{step(1)} is intact. Free some space" in str(error.value)
    assert store.newest() == store.folder / step(1)
    spoil(store, 1)
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(OSError, match=r"No space .*; all earlier ones are damaged"):
        save(store, 2)
    assert names(store.folder) == ["last", step(1)]


# A checkpoint that cannot be read now is neither damaged nor absent: nothing is removed or replaced because of it.


@pytest.mark.parametrize("name", [WEIGHTS, TRAINING, INFO])
def test_unreadable_checkpoint_stops_resuming(store: Store, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        save(store, number)
    unreadable(store.folder / step(2) / name)
    with pytest.raises(OSError, match=rf"{step(2)}/{name} can't be read: Input/output error.*resume=true"):
        store.newest()
    assert names(store.folder) == ["last", step(1), step(2)]
    monkeypatch.setattr(Path, "iterdir", failing(errno.ESTALE))  # nor is the folder empty
    with pytest.raises(OSError, match="Stale file handle"):
        store.newest()


@pytest.mark.parametrize("state", ["intact", "damaged", "unreadable"])
def test_former_checkpoint_is_kept_until_the_new_one_is_intact(store: Store, state: str) -> None:
    """Killed after a checkpoint of the same step was replaced, just before the former one was removed."""
    save(store, 1)
    old, new = store.folder / f".old-{step(1)}", store.folder / step(1) / TRAINING
    shutil.copytree(store.folder / step(1), old)
    if state == "unreadable":
        unreadable(new)
        with pytest.raises(OSError, match=rf"{new} can't be read: Input/output error"):
            store.clean_up()
        assert damage(old) is None
        return
    if state == "damaged":
        new.write_bytes(b"")
    store.clean_up()
    assert store.newest() == store.folder / step(1)
    assert names(store.folder) == [*([f"damaged-{step(1)}"] if state == "damaged" else []), "last", step(1)]


def test_best_is_kept_if_its_pointer_is_unreadable(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        forbid_links(patch)
        for number in (1, 2):
            save(store, number, best=number == 1)
    unreadable(store.folder / "best")
    save(store, 3)
    assert damage(store.folder / step(1)) is None
    assert re.search("older checkpoints in .* are kept: .*best", caplog.text)
