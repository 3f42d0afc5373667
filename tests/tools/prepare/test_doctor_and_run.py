"""Errors are exactly what stops a run: missing and unmatched files, and options."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.doctor_files import (
    STEMS,
    Damage,
    all_masks,
    case,
    check,
    drop,
    examined,
    found,
    mask,
    nothing,
    own_data,
    picture,
    put,
    shorten,
    stops,
    together,
    write_set,
)

SMALL = mask((30, 30))
MISSING = {"name": "own", "images": "own/img"}


@pytest.mark.parametrize(
    ("damage", "options", "expected"),
    [
        case("nothing", nothing()),
        case("no mask", drop("gt/a.png"), error="image without mask"),
        case("no image", drop("img/a.jpg"), error="mask without image"),
        case("no mask, left out", drop("gt/a.png"), remark="left out by exclude", exclude=["own/a"]),
        case("two images", put("img/a.png", picture(99)), error="two images of one stem"),
        case("two masks", put("gt/a.bmp", mask()), error="two masks of one stem"),
        case("a folder named like an image", lambda own: (own / "img/z.jpg").mkdir()),
        case("a link to nothing", lambda own: (own / "gt/z.png").symlink_to("none")),
        case("another size", put("gt/a.png", SMALL), error="size mismatch"),
        case("resized", put("gt/a.png", SMALL), remark="size mismatch", size_mismatch="resize"),
        case("left out", put("gt/a.png", SMALL), remark="size mismatch", size_mismatch="exclude"),
        case("all", all_masks(SMALL), remark="size mismatch", error="no pair left", size_mismatch="exclude"),
        case(
            "cut off and left out",
            together(put("gt/a.png", SMALL), shorten("img/a.jpg", 0.9)),
            remark="size mismatch",
            size_mismatch="exclude",
        ),
        case("no masks", lambda own: (own / "gt").rename(own / "masks"), error="set not found"),
        case("no images", drop(*(f"img/{stem}.jpg" for stem in STEMS)), error="unusable set"),
        case(
            "a name that can't be printed",
            lambda own: (own / "img/a.jpg").rename(os.fsdecode(os.fsencode(own) + b"/img/caf\xe9.jpg")),
            error="unusable set",
        ),
        case("unknown stem left out", nothing(), error="unknown in exclude", exclude=["own/train/typo"]),
        case(
            "everything left out",
            nothing(),
            remark="left out by exclude",
            error="no image left",
            exclude=[f"own/{stem}" for stem in STEMS],
        ),
        case("nothing left to train on", nothing(), error="nothing to train on", val_fraction=0.99),
        case("some left to train on", nothing(), val_fraction=0.5),
        case("no such set", nothing(), error="unusable set", train=["COD11K"]),
        case("no such split", nothing(), error="unusable set", train=["NC4K"]),
        case("not there", nothing(), error="set not found", train=["CAMO"]),
        case("half a mapping", nothing(), error="unusable set", train=[MISSING]),
        case("no list", nothing(), error="set not found", train=[MISSING | {"masks": "own/gt", "list": "l.txt"}]),
        case("nothing to train on at all", nothing(), train=[]),
        case("synthetic", nothing(), remark="synthetic", train=["synthetic"], synthetic={"num_train": 3}),
    ],
)
def test_errors_are_what_stops_a_run(
    tmp_path: Path, damage: Damage, options: dict[str, Any], expected: dict[str, str]
) -> None:
    check(tmp_path, damage, options, expected)


def test_errors_in_test_and_val_sets_stop_a_run(tmp_path: Path) -> None:
    write_set(tmp_path, "own", seed=0)
    spec = write_set(tmp_path, "other", seed=50)
    (tmp_path / "other/gt/c.png").write_bytes(b"")
    for options in ({}, {"val": [spec], "test": []}):
        data = own_data(tmp_path, **options)
        diagnosis = examined(data)
        assert [one.label for one in diagnosis.sets] == ["own/train", f"other/{'val' if options else 'test'}"]
        assert found(diagnosis, diagnosis.sets[1].label) == {"unreadable file": "error"}
        assert stops(data)


@pytest.mark.parametrize("kind", ["image", "mask"])
def test_errors_stop_a_run_on_randomly_damaged_files(tmp_path: Path, kind: str) -> None:
    """One file of each set is truncated or has flipped bits."""
    rng = np.random.default_rng(kind == "mask")
    path = tmp_path / ("own/img/a.jpg" if kind == "image" else "own/gt/a.png")
    outcomes = []
    for number in range(60):
        spec = write_set(tmp_path, "own", seed=0, stems="ab")
        content = bytearray(path.read_bytes())
        if number % 3:
            for position in rng.integers(0, len(content), rng.integers(1, 6)):
                content[position] ^= 1 << rng.integers(8)
        else:
            del content[rng.integers(len(content)) :]
        path.write_bytes(content)
        data = own_data(tmp_path, train=[spec], test=[])
        outcomes.append(examined(data).would_stop)
        assert outcomes[-1] == stops(data), number
    assert sum(outcomes) > 10


def test_test_sets_of_the_same_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"test=\[\.\.\.\] names CAMO more than once"):
        examined(own_data(tmp_path, train=[], test=["CAMO", "CAMO"]))
