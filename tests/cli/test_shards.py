"""Commands that share their images with others: shards by hand, and the processes of torchrun."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.figure_runs import write_set
from support.small_run import SCRIPTS

PREDICT = ("predict", "ckpt=run", "input=own/images", "save=[map,mask,coco]")
EVAL = ("eval", "ckpt=run", "maps=true")
SCORE = ("score", "maps=maps", "masks=own/masks", "num_workers=0")


def same_files(one: str, other: str) -> list[str]:
    """Check that two folders hold the same bytes, apart from the scores of single shards; return the files' names."""
    found = [
        {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
        for folder in (one, other)
    ]
    whole, shared = ({name: text for name, text in files.items() if "shards/" not in name} for files in found)
    assert whole == shared
    return sorted(whole)


@pytest.mark.slow
@pytest.mark.usefixtures("run")
def test_shards_write_what_one_command_does(script: Callable[..., Any]) -> None:
    assert script(*PREDICT, "output=one").status == 0
    for shard, number in (("3/3", 1), ("1/3", 2), ("2/3", 1)):
        done = script(*PREDICT, "output=several", f"shard={shard}")
        assert f"shard {shard} of 4 files: {number} written, 0 there already, 0 failed" in done.out
    assert len(same_files("one", "several")) == 14

    Path("several/map").rename("maps")
    for command, num_files in ((EVAL, 4 + 4), (SCORE, 7)):
        whole, shared = f"whole {command[0]}", f"shared {command[0]}"
        assert script(*command, f"out={whole}").status == 0
        done = script(*command, f"out={shared}", "shard=2/2")
        assert f"shard 2/2 is scored: {shared}/shards/2of2.json. The last shard unites all of them" in done.out
        assert done.out.endswith("without scores: 1/2\n")
        assert not Path(shared, "metrics.json").exists()
        done = script(*command, f"out={shared}", "shard=1/2")
        assert (done.status, "| own " in done.out) == (0, True)
        assert len(same_files(whole, shared)) == num_files

    assert "error: shard must be a share such as 3/16" in script(*EVAL, "shard=0/2").error
    assert (
        "shard=1/2 needs a folder in which the shards' scores meet; set out=FOLDER" in script(*SCORE, "shard=1/2").error
    )


def launched(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    name, *arguments = command
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    whole = [sys.executable, *launcher, str(SCRIPTS / f"{name}.py"), *arguments]
    return subprocess.run(whole, capture_output=True, text=True, timeout=480, check=False)


@pytest.mark.slow
@pytest.mark.usefixtures("run")
def test_processes_of_torchrun_share_the_images(script: Callable[..., Any]) -> None:
    assert script(*PREDICT, "output=one").status == 0
    done = launched([*PREDICT, "output=several", "device=cpu"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 written, 0 there already, 0 failed") == 1
    assert len(same_files("one", "several")) == 14

    Path("several/map").rename("maps")
    assert script(*SCORE, "out=scores").status == 0
    for shard in ("shard=2/2", "shard=1/2"):  # each of two processes
        done = launched([*SCORE, "out=four", shard])
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("| own ") == 1
    assert len(same_files("scores", "four")) == 7


@pytest.mark.slow
@pytest.mark.usefixtures("run")
def test_broken_file_of_one_process_ends_no_other() -> None:
    """The first process is done at once, with a failure; the second has all the other files."""
    write_set("many", [f"{number:03d}" for number in range(40)])
    for number in range(0, 40, 2):
        Path(f"many/images/{number:03d}.png").write_bytes(b"")
    done = launched(["predict", "ckpt=run", "input=many/images", "output=out", "device=cpu"])
    assert done.returncode == 1
    assert "20 written, 0 there already, 20 failed" in done.stdout
    assert len(list(Path("out/map").iterdir())) == 20
    assert done.stderr.count("many/images/000.png: the file is empty") == 1
