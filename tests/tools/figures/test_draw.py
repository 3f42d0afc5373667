"""Requests, and the choice of images by name and by score."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.figure_runs import figure_config as config
from support.saved_maps import scored

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.metrics import Protocol
from ipsam.tools.figures.draw import Chosen, FigureRequest, by_score, known_scores


def test_request_of_the_configuration() -> None:
    request = FigureRequest.of(config(stems=["b", 7, "a", "b", "e\u0301"]))  # an accent as macOS stores it
    expected = {"stems": ["b", "7", "a", "\u00e9"], "worst": None, "best": None, "maps": None, "protocol": Protocol()}
    assert request == FigureRequest(figure="mechanism", metric="sm", **expected)
    other = FigureRequest.of(config(figure="comparison", maps="m", worst=3, metric="mae", protocol={"size": 64}))
    assert (other.figure, other.maps, other.worst, other.metric) == ("comparison", Path("m"), 3, "mae")
    assert other.protocol.size == 64


def evaluated(folder: Path, *, epochs: int | None = 5, **scores: float) -> Path:
    rows = {name: {"mae": 1 - score, "sm": score} for name, score in scores.items()}
    images = {"CAMO": scored(rows), "NC4K": scored({"a": {}})}
    Evaluation({"CAMO": {"num_images": len(scores)}}, images, epochs=epochs).write(folder)
    return folder


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"best": 2}, [2, 0]),
        ({"worst": 2}, [1, 0]),
        ({"best": 2, "metric": "mae"}, [1, 0]),
        ({"worst": 2, "metric": "mae"}, [2, 0]),
        ({"best": 9}, [2, 0, 1]),
    ],
)
def test_images_are_chosen_by_score(options: dict[str, Any], expected: list[int]) -> None:
    request = FigureRequest.of(config(**options))
    scores = [0.5, 0.125, 0.875]
    assert by_score(request, "abc", scores) == [Chosen(index, "abc"[index], scores[index]) for index in expected]


def test_scores_follow_the_order_of_the_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Further images in the file are ignored; a folder without a score for each image is passed over."""
    first, second = evaluated(tmp_path / "1", a=0.125), evaluated(tmp_path / "2", a=0.5, b=0.25, c=0.75)
    scores = partial(known_scores, [tmp_path / "none", first, second], epochs=5)
    with caplog.at_level(logging.INFO):
        assert scores("CAMO", ["c", "a"], "sm") == [0.75, 0.5]
    assert f"scores of CAMO: {second}/per_image.csv" in caplog.text
    assert scores("CAMO", ["c", "a"], "mae") == [0.25, 0.5]
    assert scores("CAMO", ["a"], "sm") == [0.125]
    assert scores("NC4K", ["a"], "sm") == [0]
    assert scores("CAMO", ["a", "x"], "sm") is None
    assert scores("COD10K", ["a"], "sm") is None


@pytest.mark.parametrize(("evaluated_after", "epochs", "used"), [(5, 6, False), (5, None, False), (None, None, True)])
def test_scores_of_another_checkpoint_are_ignored(
    tmp_path: Path, evaluated_after: int | None, epochs: int | None, used: bool
) -> None:
    """A checkpoint without a number of epochs matches only an evaluation without one."""
    folder = evaluated(tmp_path, epochs=evaluated_after, a=0.125)
    assert known_scores([folder], "CAMO", ["a"], "sm", epochs=epochs) == ([0.125] if used else None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", "{"),
        ("metrics.json", "[]"),
        ("per_image.csv", "dataset,name\nCAMO,a\n"),
        ("per_image.csv", "dataset,name,sm\nCAMO,a,high\n"),
        ("per_image.csv", "dataset,name,sm\nCAMO,a\n"),
        ("per_image.csv", "name,sm\na,1\n"),
    ],
)
def test_damaged_scores_are_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: str) -> None:
    evaluated(tmp_path / "1", a=0.125)
    (tmp_path / "1" / name).write_text(content)
    second = evaluated(tmp_path / "2", a=0.5)
    assert known_scores([tmp_path / "1", second], "CAMO", ["a"], "sm", epochs=5) == [0.5]
    assert f"{tmp_path}/1: its scores can't be read" in caplog.text
