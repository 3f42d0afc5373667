from pathlib import Path

import cv2
import numpy as np
import pytest
from support.saved_maps import scored

from ipsam.data.saved_maps.map_pairs import SavedMap
from ipsam.engine.metrics import METRICS, Protocol
from ipsam.tools.compare.examples import (
    FALSE_POSITIVE,
    MISSED,
    SIDE,
    choose,
    draw_examples,
    draw_rivalries,
    error_picture,
)

ROWS = scored({"a": dict.fromkeys(METRICS, 0.5)})


@pytest.mark.parametrize(
    ("num", "expected"), [(0, []), (1, [(5, 0), (1, 3)]), (2, [(5, 0), (4, 1), (2, 2), (1, 3)]), (3, "all"), (9, "all")]
)
def test_best_and_worst_rows_are_chosen_once(num: int, expected: object) -> None:
    scores = [float("nan"), 0.1, 0.8, 0.9, 0.5]
    everything = [(5, 0), (4, 1), (3, 4), (2, 2), (1, 3)]
    assert choose(scores, num) == (everything if expected == "all" else expected)


def test_error_colours() -> None:
    prediction, mask = np.array([[1.0, 0.0, 1.0, 0.0]]), np.array([[0, 255, 255, 0]], np.uint8)
    assert error_picture(prediction, mask).tolist() == [
        [list(FALSE_POSITIVE), list(MISSED), [200, 200, 200], [255, 255, 255]]
    ]
    assert error_picture(np.array([[0.5]]), mask[:, :1]).tolist() == [[[234, 174, 128]]]  # half-way from white


def decoded(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def test_pictures_of_an_example(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    mask, faint = np.zeros((300, 400), np.uint8), np.zeros((300, 400), np.uint8)
    mask[100:200, 100:200], faint[100:200, 100:300] = 255, 100
    for name, picture in {"mask": mask, "map": faint}.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    cv2.imwrite(str(tmp_path / "image.png"), np.full((30, 40, 3), (10, 200, 90), np.uint8))
    saved = SavedMap("a", tmp_path / "map.png", tmp_path / "mask.png", tmp_path / "image.png")
    (drawn,) = draw_examples(ROWS, [saved], 8, Protocol())
    assert (drawn.name, drawn.rank, drawn.scores["sm"]) == ("a", 1, 0.5)
    assert drawn.image is not None
    assert np.abs(decoded(drawn.image).astype(int) - (10, 200, 90)).max() < 8
    assert decoded(drawn.image).shape == (30, 40, 3)  # small pictures are not enlarged
    assert decoded(drawn.truth).shape == decoded(drawn.map).shape == (120, SIDE, 3)
    assert decoded(drawn.map).max() > 250  # stretched, as it is scored
    error = decoded(drawn.error)[60].astype(int)
    assert np.abs(error[100] - FALSE_POSITIVE[::-1]).max() < 12
    assert np.abs(error[60] - 200).max() < 12

    (tmp_path / "image.png").write_bytes(b"")
    (without,) = draw_examples(ROWS, [saved], 8, Protocol())
    assert without.image is None
    assert "image.png: the file is empty" in caplog.text


def test_images_that_differ_most_from_the_reference_are_drawn_once(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mask.png"), np.eye(9, dtype=np.uint8) * np.uint8(255))
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((9, 9), 128, np.uint8))
    scores = {
        "best": {"a": 0.9, "b": 0.8, "c": 0.7},
        "one": {"a": 0.9, "b": 0.9, "c": 0.2},
        "two": {"c": 0.3, "b": 0.8},
    }
    images = {method: scored({name: {"sm": sm} for name, sm in of.items()}) for method, of in scores.items()}
    maps = {
        method: [SavedMap(name, tmp_path / "grey.png", tmp_path / "mask.png") for name in of]
        for method, of in scores.items()
    }
    drawn = draw_rivalries(images, maps, "best", 1, Protocol(min_max=False))
    assert [(one.name, one.scores) for one in drawn] == [("c", {"best": 0.7, "one": 0.2, "two": 0.3})]
    assert drawn[0].image is None
    assert np.unique(decoded(drawn[0].truth)).tolist() == [0, 255]
    assert np.abs(decoded(drawn[0].maps["two"]).astype(int) - 128).max() < 3
    assert [one.name for one in draw_rivalries(images, maps, "best", 9, Protocol())] == ["c", "b"]
