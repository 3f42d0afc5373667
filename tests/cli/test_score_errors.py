"""scripts/score.py: one clear error for whatever is wrong, with the way out."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.saved_maps import failed, mask_of, row, save, write_maps, write_masks


def test_missing_and_extra_maps(score: Callable[..., Any]) -> None:
    write_masks("CAMO")
    write_maps("One", ("a", "b", "z"))
    message = failed(score("maps=One", "masks=CAMO", "out=out"))
    assert "CAMO: 1 of 3 masks have no map of the same stem in One: c; add the missing maps" in message
    done = score("maps=One", "masks=CAMO", "missing=exclude", "out=out")
    assert row(done, "CAMO")[2] == "2"
    assert "ONLY 2 OF 3 IMAGES ARE SCORED" in done.out
    assert "1 maps have no mask and are not scored: z" in done.out
    assert json.loads(Path("out/metrics.json").read_text())["datasets"]["CAMO"]["num_images"] == 2


def test_maps_of_another_size(score: Callable[..., Any]) -> None:
    write_masks("CAMO")
    write_maps("One")
    for stem in "bc":
        save(Path(f"One/{stem}.png"), cv2.resize(cv2.imread(f"One/{stem}.png", cv2.IMREAD_UNCHANGED), (32, 24)))
    message = failed(score("maps=One", "masks=CAMO", "out=out"))
    assert "2 of 3 maps differ from their mask in size (height x width): b.png 24x32, mask 48x64, c.png" in message
    done = score("maps=One", "masks=CAMO", "resize=true")
    assert done.status == 0
    assert "2 of 3 maps are resized to their mask's size" in done.out
    done = score("maps=One", "masks=CAMO", "images=One", "protocol={size: 32}", "out=out")
    assert done.status == 0
    assert "resized" not in done.out
    assert Path("out/report.html").is_file()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda: save(Path("One/b.png"), np.dstack([mask_of(0), mask_of(1), mask_of(2)])),
            "One/b.png: a colour picture",
        ),
        (lambda: save(Path("One/b.png"), np.dstack([mask_of(0)] * 4)), "One/b.png: transparent in"),
        (lambda: Path("One/b.png").write_bytes(Path("One/b.png").read_bytes()[:-40]), "One/b.png: broken"),
        (lambda: Path("One/b.png").write_bytes(b""), "1 of 3 maps can't be used: One/b.png: the file is empty"),
        (lambda: save(Path("CAMO/b.png"), mask_of(0) // 255), "CAMO/b.png: the mask's values are 0, 1, none above 128"),
        (lambda: Path("CAMO/b.png").write_bytes(b"x"), "1 of 3 masks can't be used: CAMO/b.png: the image header"),
        (lambda: save(Path("One/b.tif"), mask_of(0)), "maps with the same stem in One: b.png and b.tif"),
        (lambda: save(Path("CAMO/b.jpg"), mask_of(0)), "masks with the same stem in CAMO: b.jpg and b.png"),
        (lambda: [path.unlink() for path in Path("One").iterdir()], "no maps in One"),
        (lambda: [path.unlink() for path in Path("CAMO").iterdir()], "no masks in CAMO"),
    ],
)
def test_bad_files(score: Callable[..., Any], damage: Callable[[], Any], message: str) -> None:
    write_masks("CAMO")
    write_maps("One")
    damage()
    done = score("maps=One", "masks=CAMO")
    assert message in failed(done)


def test_a_bad_file_met_by_a_worker_process(script: Callable[..., Any]) -> None:
    write_masks("CAMO")
    write_maps("One")
    Path("One/b.png").write_bytes(Path("One/b.png").read_bytes()[:-40])
    assert "error: One/b.png: broken, or no image" in failed(script("score", "maps=One", "masks=CAMO"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "maps and masks not given; say what to score: maps=<folder of maps> masks=<folder of masks>"),
        (["maps=One"], "masks not given; say what to score"),
        (["maps=null", "masks=CAMO"], "maps not given; say what to score"),
        (["maps=7", "masks=CAMO"], "maps=7: no such folder; check the path"),
        (["maps=", "masks=CAMO"], "maps must be a path"),
        (["maps=none", "masks=CAMO"], "maps=none: no such folder"),
        (["maps=One", "masks=CAMO", "missing=some"], "missing must be error or exclude, not 'some'"),
        (["maps=One", "masks=CAMO", "resize=bilinear"], "resize must be true or false, not 'bilinear'"),
        (["maps=One", "masks=CAMO", "cases=-1"], "cases must be a whole number of at least 0, not -1"),
        (["maps=One", "masks=CAMO", "cases=many"], "cases must be a whole number of at least 0, not 'many'"),
        (["maps=One", "masks=CAMO", "protocol=mine"], "unknown protocol 'mine'"),
        (["maps=One", "masks=CAMO", "protocol={sise: 3}"], "protocol.sise: unknown key; did you mean protocol.size?"),
        (["maps=One", "masks=CAMO", "stems=none.txt"], "stems=none.txt: no such file"),
        (["maps=One", "masks=CAMO", "images=none"], "images=none: no such folder"),
        (["maps=One", "masks=CAMO", "out=a file"], "out=a file: can't be made or written to as a folder (File exists)"),
        (["maps=One", "masks=CAMO", "out=a file/scores"], "out=a file/scores: can't be made"),
        (["maps=One", "masks=CAMO", "out=/proc/scores"], "out=/proc/scores: can't be made"),
        (["maps=One", "masks=CAMO", "out=One"], "out=One lies in maps=One, where the next run would read the pictures"),
        (["maps=One", "masks=CAMO", "out=CAMO/scores"], "out=CAMO/scores lies in masks=CAMO"),
        (["maps=One", "masks=CAMO", "out=CAMO/../link/new"], "out=CAMO/../link/new lies in maps=One"),
        (["maps=One", "masks=CAMO", "images=Two", "out=Two/scores"], "out=Two/scores lies in images=Two"),
        (["maps=One", "masks=Three/GT", "out=Three/Imgs"], "out=Three/Imgs lies in the images of Three, "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_impossible_options(score: Callable[..., Any], arguments: list[str], message: str) -> None:
    write_masks("CAMO")
    for folder in ("One", "Two", "Three/GT", "Three/Imgs"):
        write_maps(folder)
    Path("link").symlink_to("One")
    Path("a file").touch()
    before = sorted(Path.cwd().rglob("*"))
    assert message in failed(score(*arguments))
    assert sorted(Path.cwd().rglob("*")) == before


def test_inverted_masks_are_suspected(score: Callable[..., Any]) -> None:
    write_maps("One")
    for number, stem in enumerate("abc"):
        save(Path(f"CAMO/{stem}.png"), 255 - mask_of(number))
    assert "CAMO: the masks look inverted" in score("maps=One", "masks=CAMO").out
