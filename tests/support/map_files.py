"""Small images, masks and maps on disk."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ipsam.data.matching import SetLocation
from ipsam.data.pairs import Pair, find_pairs

MASK = np.zeros((6, 9), np.uint8)
MASK[2:4, 3:7] = 255


def save(path: Path, pixels: np.ndarray = MASK) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def pairs_in(
    images: Path, masks: Path, label: str = "set", *, exclude: Iterable[str | int] = (), **options: Any
) -> list[Pair]:
    """Find the pairs of two folders; ``options`` are those of the location."""
    return find_pairs(SetLocation(label=label, images=images, masks=masks, **options), exclude=list(exclude))


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes folders that hold a.png and b.png each, in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *folders: [save(Path(folder, name)) for folder in folders for name in ("a.png", "b.png")] and None
