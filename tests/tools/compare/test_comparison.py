from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ipsam.data.saved_maps.map_pairs import PairedMaps, SavedMap
from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.evaluate.scoring import score_set
from ipsam.engine.metrics import Protocol
from ipsam.tools.compare import comparison
from ipsam.tools.compare.comparison import score_maps
from ipsam.tools.compare.request import MapSet


def test_num_workers_reaches_every_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def spy(name: str, jobs: Any, total: int, *, protocol: Protocol, num_workers: int) -> Evaluation:
        calls.append((name, num_workers))
        return score_set(name, jobs, total, protocol=protocol, num_workers=0)

    monkeypatch.setattr(comparison, "score_set", spy)
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.eye(9, dtype=np.uint8) * np.uint8(255))
    sets = [MapSet("mine", name, PairedMaps([SavedMap("a", path, path)], {})) for name in ("CAMO", "NC4K")]
    scores = score_maps(sets, Protocol(), num_workers=3)
    assert calls == [("CAMO", 3), ("NC4K", 3)]
    assert scores.methods["mine"].datasets["NC4K"]["mae"] == 0
