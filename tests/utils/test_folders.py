"""Folders: links followed once, messages for those that cannot be read or written."""

import errno
import inspect
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support.saved import failing

from ipsam.utils import folders
from ipsam.utils.folders import folders_below, writable_folder


def test_links_are_followed_once(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "a" / "root", tmp_path / "elsewhere"
    for folder in (root / "own", elsewhere / "deep"):
        folder.mkdir(parents=True)
    (root / "another").symlink_to("own")
    (root / "linked").symlink_to(elsewhere)
    (root / "nowhere").symlink_to("none")
    (elsewhere / "above").symlink_to(tmp_path)
    (elsewhere / "circle").symlink_to(root)
    found, messages = folders_below(root)
    assert [folder.relative_to(root).as_posix() for folder in found] == [".", "linked", "linked/deep", "own"]
    assert messages == []


def test_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, (line,) = folders_below(tmp_path)
    assert found == [tmp_path, tmp_path / "open"]
    assert line.startswith(f"{tmp_path / 'closed'}: can't be read (Permission denied); give yourself the right")


def test_unwritable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert writable_folder(tmp_path / "a" / "b", "out").is_dir()
    monkeypatch.setattr(folders, "TemporaryFile", failing(errno.EACCES))
    with pytest.raises(ValueError, match=r"^out=.*a: can't be made .* \(Permission denied\); set out=FOLDER"):
        writable_folder(tmp_path / "a", "out")


def test_folders_of_any_depth_are_listed(tmp_path: Path) -> None:
    """Python's own walk ends in a RecursionError."""
    deep = tmp_path.joinpath(*["a"] * 300)
    os.makedirs(deep)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    try:
        folders, messages = folders_below(tmp_path)
    finally:
        sys.setrecursionlimit(limit)
    assert (len(folders), messages) == (301, [])
