"""Folders of masks and maps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from support.map_files import save


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """In an empty folder, makes folders that hold a.png and b.png each."""
    monkeypatch.chdir(tmp_path)

    def make(*folders: str) -> None:
        for folder in folders:
            for name in ("a.png", "b.png"):
                save(Path(folder, name))

    return make
