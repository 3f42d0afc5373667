"""Small images, masks and maps on disk."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ipsam.data.matching import SetLocation
from ipsam.data.pairs import Pairs, find_pairs
from support.fuzzing import clear

MASK = np.zeros((6, 9), np.uint8)
MASK[2:4, 3:7] = 255


def save(path: Path, pixels: np.ndarray = MASK) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def pairs_in(
    images: Path, masks: Path, label: str = "set", *, exclude: Iterable[str | int] = (), **options: Any
) -> Pairs:
    """Find the pairs of two folders; ``options`` are those of the location."""
    return find_pairs(SetLocation(label=label, images=images, masks=masks, **options), exclude=list(exclude))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes folders that hold a.png and b.png each, in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *folders: [save(Path(folder, name)) for folder in folders for name in ("a.png", "b.png")] and None


@pytest.fixture
def three_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pairs in images/ and masks/ of the current folder, and maps for them in maps/."""
    monkeypatch.chdir(tmp_path)
    for stem in "abc":
        for folder in ("images", "masks", "maps"):
            save(Path(folder, f"{stem}.png"))


def refused(action: Callable[[], Any], *parts: str, kind: type[Exception] = ValueError) -> str:
    """Run what must fail, check the error's type and that it has all parts, and return its message."""
    with pytest.raises(kind) as caught:
        action()
    message = clear(caught.value, *parts)
    assert all(part in message for part in parts), message
    return message


def add(*names: str, size: tuple[int, int] = (6, 9)) -> Callable[[], None]:
    return lambda: [save(Path(name), np.zeros(size, np.uint8)) for name in names] and None


def write(content: bytes, *names: str) -> Callable[[], None]:
    return lambda: [Path(name).write_bytes(content) for name in names] and None
