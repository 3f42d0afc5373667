import json
import logging
from pathlib import Path

import pytest

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.tools.figures.choice import Chosen, by_name, by_score, known_scores

SETS = {"CAMO": ["a", "b", "c"], "NC4K": ["b", "d"]}


def test_by_name_in_the_order_given() -> None:
    assert by_name(SETS, ["c", "a"]) == {"CAMO": [Chosen(2, "c"), Chosen(0, "a")]}
    assert by_name(SETS, ["d", "b"]) == {"CAMO": [Chosen(1, "b")], "NC4K": [Chosen(1, "d"), Chosen(0, "b")]}


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match=r"stems: no image is called x, a\.jpg ") as caught:
        by_name(SETS, ["x", "a", "a.jpg"])
    assert "(CAMO has 3: a, b, c; NC4K has 2: b, d)" in str(caught.value)
    assert "file names without their ending" in str(caught.value)
    assert "data.test=[NAME]" in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "worst", "expected"),
    [("sm", False, [2, 0]), ("sm", True, [1, 0]), ("mae", False, [1, 0]), ("mae", True, [2, 0])],
)
def test_by_score(metric: str, worst: bool, expected: list[int]) -> None:
    scores = [0.5, 0.1, 0.9]
    chosen = by_score(["a", "b", "c"], scores, metric, 2, worst=worst)
    assert [image.index for image in chosen] == expected
    assert all(image == Chosen(image.index, "abc"[image.index], scores[image.index]) for image in chosen)
    assert len(by_score(["a", "b", "c"], scores, metric, 9, worst=worst)) == 3


def evaluated(folder: Path, *, epochs: int | None = 5, **scores: float) -> Path:
    rows: list[dict[str, str | float]] = [
        {"dataset": "CAMO", "name": name, "mae": 1 - score, "sm": score} for name, score in scores.items()
    ]
    rows.append({"dataset": "NC4K", "name": "a", "mae": 0.0, "sm": 0.0})
    Evaluation({"CAMO": {"num_images": len(scores)}}, rows, epochs=epochs).write(folder)
    return folder


def test_scores_that_are_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the order of the names; of images that were left out this time, no matter."""
    folder = evaluated(tmp_path / "eval", a=0.125, b=0.5, c=0.75)
    with caplog.at_level(logging.INFO):
        assert known_scores([folder], "CAMO", ["c", "a"], "sm", epochs=5) == [0.75, 0.125]
    assert f"scores of CAMO: {folder}/per_image.csv" in caplog.text
    assert known_scores([folder], "CAMO", ["c", "a"], "mae", epochs=5) == [0.25, 0.875]
    assert known_scores([folder], "NC4K", ["a"], "sm", epochs=5) == [0]


def test_scores_of_the_first_folder_that_has_them(tmp_path: Path) -> None:
    first, second = evaluated(tmp_path / "1", a=0.125), evaluated(tmp_path / "2", a=0.5, b=0.75)
    places = [tmp_path / "none", first, second]
    assert known_scores(places, "CAMO", ["a"], "sm", epochs=5) == [0.125]
    assert known_scores(places, "CAMO", ["a", "b"], "sm", epochs=5) == [0.5, 0.75]
    assert known_scores(places, "CAMO", ["a", "x"], "sm", epochs=5) is None
    assert known_scores(places, "COD10K", ["a"], "sm", epochs=5) is None


def test_scores_of_another_checkpoint_are_not_taken(tmp_path: Path) -> None:
    """As of a run that went on; but a checkpoint that tells nothing, as older ones, takes scores that tell nothing."""
    folder = evaluated(tmp_path, epochs=5, a=0.125)
    assert known_scores([folder], "CAMO", ["a"], "sm", epochs=6) is None
    assert known_scores([folder], "CAMO", ["a"], "sm", epochs=None) is None
    evaluated(tmp_path, epochs=None, a=0.125)
    assert known_scores([folder], "CAMO", ["a"], "sm", epochs=None) == [0.125]


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
def test_damaged_scores_are_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: str
) -> None:
    evaluated(tmp_path / "1", a=0.125)
    (tmp_path / "1" / name).write_text(content)
    second = evaluated(tmp_path / "2", a=0.5)
    assert known_scores([tmp_path / "1", second], "CAMO", ["a"], "sm", epochs=5) == [0.5]
    assert f"{tmp_path}/1: its scores can't be read" in caplog.text
    assert json.loads((second / "metrics.json").read_text())["epochs"] == 5
