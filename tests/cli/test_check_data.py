"""The command check_data: output, files and exit status."""

import errno
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from support.saved import failing
from support.saved_maps import row


@pytest.fixture
def check(script: Callable[..., Any]) -> Callable[..., Any]:
    """Run check_data without worker processes."""
    return lambda *arguments: script("check_data", *arguments, "num_workers=0")


@pytest.fixture
def own(pairs: Callable[[str], str]) -> list[str]:
    """Write two sets of three equal pairs; return the options that name them."""
    return [f"data.train=[{pairs('own')}]", f"data.test=[{pairs('other')}]"]


def recoloured(name: str) -> None:
    """Replace the images of a set by others."""
    for number, path in enumerate(sorted(Path(name, "images").iterdir())):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(path), cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC))


def test_sound_data_has_no_findings(check: Callable[..., Any], own: list[str]) -> None:
    recoloured("own")
    before = sorted(Path.cwd().rglob("*"))
    done = check(*own)
    assert (done.status, done.err) == (0, "")
    table, closing = done.out.split("\n\n")
    assert closing == "nothing that would stop a run; 0 warnings, 0 remarks (12 files read)\n"
    assert table.splitlines()[0].split(" | ")[0].startswith("| set")
    assert row(done, "own/train") == ["own/train", "3", "3", "3", "64", "64", "14.6% (14.6% to 14.6%)", "0", "0", "0"]
    assert len({len(line) for line in table.splitlines()}) == 1  # aligned
    assert sorted(Path.cwd().rglob("*")) == before


def test_warnings_do_not_stop_a_run(check: Callable[..., Any], own: list[str]) -> None:
    """The status is 0; the search for duplicates is optional."""
    cv2.imwrite("other/masks/b.png", np.zeros((64, 64), np.uint8))
    done = check(*own)
    assert done.status == 0
    assert row(done, "other/test")[-4:] == ["14.6% (0.0% to 14.6%)", "0", "2", "0"]
    folder = Path.cwd() / "other"
    assert (
        f"\n\nother/test ({folder}/images, {folder}/masks)\n  warning, empty masks: 1 of 3 masks have no " in done.out
    )
    assert "\n  warning, tested on training images: 3 of 3 images are among the training images too" in done.out
    assert done.out.endswith("\nnothing that would stop a run; 2 warnings, 0 remarks (12 files read)\n")
    assert check(*own, "duplicates=false").out.endswith("; 1 warning, 0 remarks (12 files read)\n")


def test_errors_stop_a_run(check: Callable[..., Any], own: list[str]) -> None:
    """The status is 1, errors come first, sizes are smallest and largest, and the JSON holds all of it."""
    recoloured("own")
    Path("own/masks/a.png").unlink()
    Path("own/images/b.jpg").write_bytes(b"")
    cv2.imwrite("other/images/a.jpg", np.zeros((30, 90, 3), np.uint8))
    cv2.imwrite("other/masks/a.png", np.zeros((30, 90), np.uint8))
    done = check(*own, "out=found/of data")
    assert done.status == 1
    assert done.err == ""
    assert row(done, "own/train") == ["own/train", "3", "2", "2", "64", "64", "14.6% (14.6% to 14.6%)", "2", "0", "0"]
    assert row(done, "other/test")[1:6] == ["3", "3", "3", "30-64", "64-90"]
    assert "error, image without mask: 1 of 3 images have no mask of the same stem in" in done.out
    assert "error, unreadable file: 1 of 2 pairs can't be read: " in done.out
    assert done.out.endswith("\n2 errors: a run would stop; 1 warning, 0 remarks (11 files read)\n")
    content = json.loads(Path("found/of data/check_data.json").read_text())
    assert content["would_stop"]
    assert [content[f"num_{kind}"] for kind in ("errors", "warnings", "remarks", "files")] == [2, 1, 0, 11]
    train, test = content["sets"]
    assert (train["set"], train["num_images"], train["num_masks"], train["num_pairs"]) == ("own/train", 3, 2, 2)
    assert train["folders"] == [f"{Path.cwd()}/own/images", f"{Path.cwd()}/own/masks"]
    assert [(found["kind"], found["severity"], found["files"]) for found in train["findings"]] == [
        ("image without mask", "error", [f"{Path.cwd()}/own/images/a.jpg"]),
        ("unreadable file", "error", [f"{Path.cwd()}/own/images/b.jpg"]),
    ]
    assert "the file is empty; fetch it again" in train["findings"][1]["message"]
    assert [found["kind"] for found in test["findings"]] == ["empty masks"]


def test_data_is_chosen_by_name(check: Callable[..., Any]) -> None:
    done = check("data=kvasir", "paths.data=nowhere")
    assert done.status == 1
    assert "\nKvasir-SEG/train\n  error, set not found: not found in nowhere or a folder right below it" in done.out
    done = check("data=synthetic", "data.val=[synthetic]", "data.synthetic.num_train=7")
    assert done.status == 0
    assert row(done, "synthetic/train") == ["synthetic/train", "0", "0", "7", "-", "-", "-", "0", "0", "1"]
    assert done.out.count("remark, synthetic: made on the fly, no files to read") == 3
    assert check("data.train=[]", "data.test=[]").out == (
        "nothing that would stop a run; 0 warnings, 0 remarks (0 files read)\n"
    )


ODD = (
    "img (1)",
    "it's",
    'say "x"',
    "br{a}ce[1]",
    "back\\slash",
    "end\\",
    "$HOME",
    "1e5",
    "007",
    "null",
    "a: b",
    "a,b,c",
    '"]',
)


def test_printed_exclude_can_be_typed(check: Callable[..., Any], own: list[str]) -> None:
    """In a shell, whatever the stems hold."""
    for stem in ODD:
        shutil.copy("own/images/a.jpg", f"own/images/{stem}.jpg")
    printed = check(*own).out
    assert f"{len(ODD)} of {len(ODD) + 3} images have no mask" in printed
    (argument,) = shlex.split(re.search(r"leave these out with (.*)", printed)[1])
    again = check(*own, argument)
    assert again.status == 0
    assert f"{len(ODD)} left out by exclude" in again.out


def test_full_disk_loses_no_findings(
    check: Callable[..., Any], own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.fsync", failing(errno.ENOSPC))
    done = check(*own, "out=found")
    assert done.status == 1
    assert "12 files read" in done.out
    assert "found/check_data.json: can't be written (No space left on device)" in done.err
    assert not Path("found").exists()
