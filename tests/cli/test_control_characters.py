"""Names and texts of strangers reach the terminal and train.log with their control characters escaped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.figure_runs import write_set
from support.saved_maps import write_maps, write_masks

import ipsam

ESC = "a\x1b]0;owned\x07\x1b[2J\x9b1mb"
ESCAPED = r"a\x1b]0;owned\x07\x1b[2J\x9b1mb"


def is_clean(text: str) -> bool:
    return not [letter for letter in text if not letter.isprintable() and letter not in "\n\t\r"]


STRANGE = [(ESC, ESCAPED), ("a\u202egnp", r"a\u202egnp")]


@pytest.mark.parametrize("name", [*STRANGE, ("\udcff\udcfe", r"\udcff\udcfe")], ids=ascii)  # the last is not UTF-8
def test_predict(script: Callable[..., Any], name: tuple[str, str]) -> None:
    write_set("own", stems="a")
    Path("own/images/a.png").rename(f"own/images/{name[0]}.png")
    Path(f"own/images/{name[0]}x.jpg").write_bytes(b"\xff\xd8\xff")
    done = script("predict", "input=own/images", f"output=out{name[0]}")
    assert done.status == 1
    assert f"1 written, 0 there already, 1 failed: out{name[1]}" in done.out
    assert f"own/images/{name[1]}x.jpg: " in done.err
    assert is_clean(done.out)
    assert is_clean(done.err)
    assert len(list(Path(f"out{name[0]}").rglob(f"{name[0]}.png"))) == 1


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_score(script: Callable[..., Any], name: tuple[str, str]) -> None:
    write_masks("CAMO", ("a", "b", name[0]))
    write_maps(name[0], ("a", "b"))
    given = (f"maps={name[0]}", "masks=CAMO", "num_workers=0", "out=out")
    message = script("score", *given).error
    assert f"1 of 3 masks have no map of the same stem in {name[1]}: {name[1]}" in message
    assert is_clean(message)
    write_maps(name[0], (name[0],))
    done = script("score", *given)
    assert done.status == 0, done.err
    assert f" {name[1]} |" in done.out
    assert is_clean(done.out)
    assert len(Path("out/per_image.csv").read_text(encoding="utf-8").splitlines()) == 4


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_check_data(script: Callable[..., Any], name: tuple[str, str]) -> None:
    write_set("own", stems="ab")
    Path("own/masks/b.png").rename(f"own/masks/{name[0]}.png")
    test = "data.test=[{name: own, images: own/images, masks: own/masks}]"
    done = script("check_data", "data.train=[]", test, "paths.data=.", "num_workers=0", "out=out")
    assert done.status == 1
    assert f"{name[1]}.png" in done.out
    assert is_clean(done.out)
    assert json.loads(Path("out/check_data.json").read_text(encoding="utf-8"))["would_stop"]


def test_texts_of_a_shared_model(script: Callable[..., Any]) -> None:
    ipsam.load("micro", device="cpu").save_pretrained("model")
    about = json.loads(Path("model/config.json").read_text())
    about["model"]["decoder"][ESC] = ESC
    Path("model/config.json").write_text(json.dumps(about))
    write_set("own", stems="a")
    message = script("predict", "ckpt=model", "input=own/images", "output=out").error
    assert ESCAPED in message
    assert is_clean(message)
