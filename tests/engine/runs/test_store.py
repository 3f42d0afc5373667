"""A run's checkpoints: found again, kept, dropped; and whatever happens while one is written."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.saved import forbid_links, names, save

from ipsam.engine.runs.checkpoint import TRAINING, WEIGHTS, damage, load_training
from ipsam.engine.runs.model_folder import find_checkpoint
from ipsam.engine.runs.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "checkpoints", keep=2)


def test_the_newest_are_kept_and_the_best(store: Store) -> None:
    for step in (9, 10, 11, 100):  # by number, not by name
        save(store, step, best=step == 9)
    assert names(store.folder) == ["best", "last", "step_00000009", "step_00000011", "step_00000100"]
    assert os.readlink(store.folder / "best") == "step_00000009"
    assert os.readlink(store.folder / "last") == "step_00000100"
    assert store.newest() == store.folder / "step_00000100"
    save(store, 101, best=True)
    assert names(store.folder) == ["best", "last", "step_00000100", "step_00000101"]


def test_none_is_none(store: Store) -> None:
    assert store.newest() is None


def test_damaged_ones_are_named_and_passed_over(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for step in (1, 2):
        save(store, step)
    (store.folder / "step_00000002" / WEIGHTS).write_bytes(b"")
    assert store.newest() == store.folder / "step_00000001"
    assert "step_00000002: model.safetensors is damaged" in caplog.text
    (store.folder / "step_00000001" / TRAINING).unlink()
    with pytest.raises(ValueError, match=r"all 2 checkpoints in .* are damaged \(step_00000002: model") as told:
        store.newest()
    assert "step_00000001: training.pt is missing" in str(told.value)
    assert "Nothing was removed: restore the files from a copy and continue with resume=true" in str(told.value)
    assert names(store.folder) == ["last", "step_00000001", "step_00000002"]
    save(store, 2)  # written again, it is whole again
    assert store.newest() == store.folder / "step_00000002"


def test_what_is_saved_is_never_dropped_for_damaged_ones(store: Store) -> None:
    for step in (4, 10, 11):
        save(store, step, best=step == 4)
    for step in (10, 11):
        (store.folder / f"step_{step:08d}" / WEIGHTS).write_bytes(b"")
    save(store, 5)
    assert store.newest() == store.folder / "step_00000005"
    assert os.readlink(store.folder / "last") == "step_00000005"


def test_going_back_to_one_leaves_things_as_they_were(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    for step in (2, 4, 5):
        save(store, step, best=step in (2, 5))
    (store.folder / "step_00000005" / WEIGHTS).write_bytes(b"")
    (store.folder / ".gone-step_00000001").mkdir()
    (store.folder / ".new-step_00000006").mkdir()
    (store.folder / ".new-last").symlink_to("nowhere")
    newest = store.newest()
    assert newest == store.folder / "step_00000004"
    store.clean_up()
    store.go_back_to(newest, best_step=None)
    assert "step_00000005 is set aside as damaged-step_00000005" in caplog.text
    assert names(store.folder) == ["best", "damaged-step_00000005", "last", "step_00000004"]
    assert len(names(store.folder / "damaged-step_00000005")) == 4
    assert os.readlink(store.folder / "last") == "step_00000004"
    store.go_back_to(newest, best_step=4)
    assert os.readlink(store.folder / "best") == "step_00000004"


def test_setting_aside_replaces_nothing(store: Store) -> None:
    for _ in range(3):
        save(store, 1)
        save(store, 2)
        (store.folder / "step_00000002" / WEIGHTS).write_bytes(b"")
        store.go_back_to(store.folder / "step_00000001", best_step=None)
    aside = [f"damaged-step_00000002{suffix}" for suffix in ("", "-2", "-3")]
    assert names(store.folder) == [*aside, "last", "step_00000001"]


def test_one_that_was_about_to_be_replaced_is_put_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed when the former checkpoint of this step was moved away, and the new one not yet put there."""
    store.keep = 1
    save(store, 1)
    save(store, 2)
    rename = Path.rename

    def killed(path: Path, target: Path) -> None:
        if path.name.startswith(".new-"):
            raise KilledError
        rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KilledError):
            save(store, 2)
    assert store.newest() is None
    store.clean_up()
    assert store.newest() == store.folder / "step_00000002"
    assert sorted(path.name for path in store.folder.iterdir()) == ["last", "step_00000002"]


def test_a_run_or_a_checkpoint_is_found(store: Store, tmp_path: Path) -> None:
    for step in (1, 2):
        save(store, step, best=step == 1)
    last, best = store.folder / "step_00000002", store.folder / "step_00000001"
    assert find_checkpoint(tmp_path) == last
    assert find_checkpoint(store.folder / "last").resolve() == last
    assert find_checkpoint(store.folder / "best").resolve() == best
    assert find_checkpoint(best) == best
    for nowhere in (tmp_path / "nowhere", store.folder, best / WEIGHTS):
        with pytest.raises(FileNotFoundError, match=rf"no checkpoint at {nowhere}: ckpt= takes a run's folder"):
            find_checkpoint(nowhere)


class KilledError(BaseException):
    """The process ends here, without any of its own cleaning up."""


@contextmanager
def killed_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Ends everything at the given one of the system calls that writing a checkpoint takes."""
    import shutil

    made: list[str] = []

    def watch(owner: Any, name: str, label: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            made.append(label)
            if len(made) == number:
                raise KilledError
            return original(*arguments, **options)

        patch.setattr(owner, name, call)

    with monkeypatch.context() as patch:
        watch(os, "fsync", "fsync")
        watch(os, "replace", "replace")
        watch(Path, "mkdir", "mkdir")
        watch(Path, "rename", "rename")
        watch(Path, "symlink_to", "symlink")
        watch(shutil, "rmtree", "rmtree")
        yield made


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_killed_anywhere_the_former_or_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """At every call in turn, also where a damaged folder of the same step is replaced and an old one dropped."""
    if not links:
        forbid_links(monkeypatch)
    ended = 0
    for number in range(1, 100):
        store = Store(tmp_path / str(number), keep=1)
        save(store, 1)
        save(Store(store.folder, keep=2), 2)
        (store.folder / "step_00000002" / WEIGHTS).write_bytes(b"damaged")
        try:
            with killed_at(number, monkeypatch) as made:
                save(store, 2)
        except KilledError:
            ended += 1
        found = store.newest()
        assert found is not None
        assert damage(found) is None
        assert load_training(found)["progress"]["step"] in (1, 2)
        save(store, 3)  # whatever was left lying about is no obstacle
        assert [name for name in names(store.folder) if not name.startswith(".")] == ["last", "step_00000003"]
        if len(made) < number:
            break
    assert ended == len(made) > 10


def test_a_full_disk_leaves_the_former_one_and_is_told(store: Store) -> None:
    """The kernel refuses to let files grow: by a limit on their size, which is met in the middle of the weights."""
    save(store, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(
            OSError, match=r"the checkpoint of step 2 could not be written to .*checkpoints: File too large"
        ) as told:
            save(store, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "step_00000001 is intact. Free some space, or allow writing there" in str(told.value)
    assert names(store.folder) == ["last", "step_00000001"]
    assert store.newest() == store.folder / "step_00000001"


def test_the_first_one_may_fail_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; there is no earlier one"):
        save(store, 1)
    assert names(store.folder) == []
    monkeypatch.undo()
    save(store, 1)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; step_00000001 is intact"):
        save(store, 1)  # the same step again
    (store.folder / "step_00000001" / WEIGHTS).write_bytes(b"")
    with pytest.raises(OSError, match="No space left on device; all earlier ones are damaged"):
        save(store, 2)


def test_former_checkpoint_is_put_back_where_the_new_one_cannot_be_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(store, 1)
    rename = Path.rename

    def refuse(path: Path, target: Path) -> None:
        if path.name.startswith(".new-"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="Input/output error; step_00000001 is intact"):
        save(store, 1)
    assert names(store.folder) == ["last", "step_00000001"]
