"""The file of the scores in the course of a training."""

from pathlib import Path

import pytest

from ipsam.engine.evaluate.curve import add_epoch, read_curve
from ipsam.engine.metrics import METRICS, Scores


def scores(value: float) -> Scores:
    return dict.fromkeys(METRICS, value)


def test_entries_come_back_and_later_ones_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "eval" / "curve.csv"
    assert read_curve(path) == []
    camo, nc4k = scores(1 / 3), scores(1e-9)
    for epoch in (2, 4, 6):
        add_epoch(path, epoch, {"=CAMO": {"num_images": 3, **camo}, "NC4K": {"num_images": 2, **nc4k}})
    add_epoch(path, 4, {"=CAMO": scores(1.0)})
    assert read_curve(path) == [(2, "=CAMO", camo), (2, "NC4K", nc4k), (4, "=CAMO", scores(1.0))]
    assert path.read_text().startswith("epoch,dataset,mae,")


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "epoch,dataset,mae\n1\n", "epoch,dataset,mae\nx,CAMO,0.1\n"])
def test_damaged_curve_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "curve.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"{path} is damaged: .*move the file elsewhere"):
        add_epoch(path, 2, {})
    assert path.read_text() == content
