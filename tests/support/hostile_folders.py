"""What may lie in a run's folder beside or in place of what belongs there."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ipsam.engine.runs.checkpoint import CONFIG, INFO, TRAINING, WEIGHTS
from support.hostile_runs import STEP

ENDLESS = Path("/dev/zero")

# Puts something in place of a file; given are the file and a folder outside the run.
REPLACEMENTS: dict[str, Callable[[Path, Path], object]] = {
    "nothing": lambda path, outside: None,
    "a folder": lambda path, outside: path.mkdir(),
    "a pipe": lambda path, outside: os.mkfifo(path),
    "an empty file": lambda path, outside: path.touch(),
    "a link to nothing": lambda path, outside: path.symlink_to("nowhere"),
    "a link to itself": lambda path, outside: path.symlink_to(path.name),
    "a device": lambda path, outside: path.symlink_to(ENDLESS),
    "a link to somebody's file": lambda path, outside: path.symlink_to(outside / "file"),
    "a terabyte of nothing": lambda path, outside: os.truncate(os.open(path, os.O_WRONLY | os.O_CREAT), 1 << 40),
}
REPLACED = (WEIGHTS, CONFIG, TRAINING, INFO)


def _write(name: str, text: str) -> Callable[[Path, Path], object]:
    return lambda run, outside: (run / name).write_text(text, encoding="utf-8")


def _link(name: str, target: str) -> Callable[[Path, Path], object]:
    def link(run: Path, outside: Path) -> None:
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(target.format(outside=outside))

    return link


def _make(*names: str) -> Callable[[Path, Path], object]:
    return lambda run, outside: [(run / name).mkdir(parents=True) for name in names]


def _pipe(name: str) -> Callable[[Path, Path], object]:
    def make(run: Path, outside: Path) -> None:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return make


ABOUT_PATH = f"checkpoints/{STEP}/{INFO}"
DEEP = "[" * 100_000
# What is done to a run's folder; given are it and a folder outside.
FOLDERS: dict[str, Callable[[Path, Path], object]] = {
    "no checkpoints": lambda run, outside: shutil.rmtree(run / "checkpoints"),
    "checkpoints as a file": lambda run, outside: (
        shutil.rmtree(run / "checkpoints"),
        (run / "checkpoints").write_text(""),
    ),
    "a newer step of nothing": _make("checkpoints/step_00000009"),
    "a newer step as a file": _write("checkpoints/step_00000009", ""),
    "a step of 200 digits": _make("checkpoints/step_" + "9" * 200),
    "a step in Arabic digits": _make("checkpoints/step_" + "\u0669" * 8),
    "2,000 steps": _make(*(f"checkpoints/step_{number:08}" for number in range(10, 2010))),
    "a newer step that leads out": _link("checkpoints/step_00000009", "{outside}"),
    "a newer step that is itself": _link("checkpoints/step_00000009", "step_00000009"),
    "last that leads out": _link("checkpoints/last", "{outside}"),
    "best that leads out": _link("checkpoints/best", "{outside}/none"),
    "eval that leads out": _link("eval", "{outside}"),
    "eval that leads upwards": _link("eval", "../outside"),
    "metrics that lead out": _link("eval/metrics.json", "{outside}/file"),
    "a picture that leads to nothing yet": _link("eval/synthetic.png", "{outside}/new.png"),
    "maps that lead out": _link("eval/maps", "{outside}"),
    "logs that lead out": _link("tensorboard", "{outside}"),
    "a configuration that leads out": _link("config.yaml", "{outside}/file"),
    "data.json that leads out": _link("data.json", "{outside}/file"),
    "an environment that leads out": _link("environment.jsonl", "{outside}/file"),
    "data.json as a pipe": _pipe("data.json"),
    "metrics as a pipe": _pipe("eval/metrics.json"),
    "data.json deeply nested": _write("data.json", DEEP),
    "data.json as a list": _write("data.json", "[1, 2]"),
    "data.json of other types": _write("data.json", '{"test/synthetic": 5}'),
    "data.json of a number beyond all": _write("data.json", '{"test/synthetic": ' + "9" * 5000 + "}"),
    "data.json that clears the screen": _write(
        "data.json", json.dumps({"test/synthetic": {"num_images": "\x1b[2J\n" * 5000}})
    ),
    "checkpoint.json deeply nested": _write(ABOUT_PATH, DEEP),
    "checkpoint.json as a list": _write(ABOUT_PATH, "[]"),
    "checkpoint.json as a number": _write(ABOUT_PATH, "5"),
    "checkpoint.json without sums": _write(ABOUT_PATH, "{}"),
    "checkpoint.json of sums as text": _write(ABOUT_PATH, '{"sha256": "abc"}'),
    "checkpoint.json of other sums": _write(ABOUT_PATH, json.dumps({"sha256": dict.fromkeys(REPLACED, "0" * 64)})),
    "checkpoint.json of a number beyond all": _write(ABOUT_PATH, '{"epoch": ' + "9" * 5000 + "}"),
    "checkpoint.json of NaN": _write(ABOUT_PATH, '{"epoch": NaN, "sha256": null}'),
    "checkpoint.json of no UTF-8": lambda run, outside: (run / ABOUT_PATH).write_bytes(b"\xff\xfe{}"),
}
