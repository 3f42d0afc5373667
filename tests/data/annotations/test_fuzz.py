"""Annotations with random damage: a run ends in an error exactly if the doctor says so, and in no other way."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.annotated import WRITERS, coco_content, labelme_content
from support.defaults import data_with
from support.doctor_files import examined, stops

NUM_CASES = 25  # of each format
VALUES = [
    *(None, True, -1, 10**30, 2**63, 1e308, float("inf"), float("nan"), "", "a", "../x", "\ud800", "/etc/passwd"),
    *(
        "x" * 5000,
        [],
        {},
        [[]],
        [1],
        [1, 2, 3, 4, 5, 6],
        [[1e308] * 6],
        [[float("inf"), 0], [1, 1]],
        {"counts": [0, 1]},
    ),
    *({"counts": "a"}, "mask", "circle", "rectangle", {"id": 1}),
]
WORDS = ["nan", "inf", "-1", "1e400", "x", "\n", "9" * 5000, "²", "0.5", "0.1"]


def ways(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the keys that lead to each value within another."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*way, key)
        yield from ways(part, (*way, key))


def damaged(content: Any, rng: random.Random) -> str:
    content = json.loads(json.dumps(content))  # a copy
    for _ in range(rng.randint(1, 3)):
        at = content
        *way, last = rng.choice(list(ways(content)))
        for key in way:
            at = at[key]
        if rng.random() < 0.2:
            del at[last]
        else:
            at[last] = rng.choice(VALUES)
    return json.dumps(content)


@pytest.mark.parametrize("kind", WRITERS)
def test_damage_ends_in_one_error_that_the_doctor_finds(tmp_path: Path, kind: str) -> None:
    rng = random.Random(kind)
    spec = WRITERS[kind](tmp_path)
    path = tmp_path / {"coco": "coco/all.json", "labelme": "labelme/b.json", "yolo": "yolo/labels/b.txt"}[kind]
    numbers = path.read_text().split()
    outcomes = []
    for case in range(NUM_CASES):
        if kind == "yolo":
            words = [*numbers]
            words[rng.randrange(len(words))] = rng.choice(WORDS)
            text = " ".join(words)
        else:
            text = damaged(coco_content() if kind == "coco" else labelme_content("b"), rng)
        path.write_text(text)
        given = data_with(image_size=32, root=tmp_path, train=[spec], size_mismatch=rng.choice([None, "resize"]))
        outcomes.append(stops(given))
        assert outcomes[-1] == examined(given).would_stop, (case, text[:500])
    assert sum(outcomes) > NUM_CASES // 3
