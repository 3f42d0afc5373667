"""Broken and hostile entries of a run's folder."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ipsam.engine.runs.checkpoint import CONFIG, INFO, TRAINING, WEIGHTS
from support.hostile_runs import STEP

Change = Callable[[Path, Path], object]  # of a path in the run; the second argument is a folder outside

# Ways to replace a file that was removed.
REPLACEMENTS: dict[str, Change] = {
    "nothing": lambda path, outside: None,
    "a folder": lambda path, outside: path.mkdir(),
    "a pipe": lambda path, outside: os.mkfifo(path),
    "a link to nothing": lambda path, outside: path.symlink_to("nowhere"),
    "a device": lambda path, outside: path.symlink_to("/dev/zero"),
    "a link to a foreign file": lambda path, outside: path.symlink_to(outside / "file"),
    "a sparse terabyte": lambda path, outside: os.truncate(os.open(path, os.O_WRONLY | os.O_CREAT), 1 << 40),
}
REPLACED = (WEIGHTS, CONFIG, TRAINING, INFO)

INFO_PATH = f"checkpoints/{STEP}/{INFO}"
DEEP, LARGE = "[" * 100_000, "9" * 5000
LINKS = {  # path in the run -> target
    "checkpoints/step_00000009": ("{outside}", "step_00000009"),
    "checkpoints/last": ("{outside}",),
    "eval": ("{outside}", "../outside"),
    "eval/metrics.json": ("{outside}/file",),
    "eval/maps": ("{outside}",),
    "tensorboard": ("{outside}",),
    "trackers": ("{outside}",),
    **dict.fromkeys(("config.yaml", "data.json", "environment.jsonl"), ("{outside}/file",)),
}
TEXTS = {  # path in the run -> contents
    "checkpoints/step_00000009": ("",),
    "data.json": (
        *(DEEP, "[1, 2]", '{"test/synthetic": 5}', f'{{"test/synthetic": {LARGE}}}'),
        json.dumps({"test/synthetic": {"num_images": "\x1b[2J\n" * 5000}}),
    ),
    INFO_PATH: (
        *(DEEP, "[]", "5", "{}", '{"sha256": "abc"}', f'{{"epoch": {LARGE}}}', '{"epoch": NaN, "sha256": null}'),
        json.dumps({"sha256": dict.fromkeys(REPLACED, "0" * 64)}),
    ),
}
FOLDERS = {
    "a newer step": ["step_00000009"],
    "a step of 200 digits": ["step_" + "9" * 200],
    "2,000 steps": [f"step_{number:08}" for number in range(10, 2010)],
}


def _clear(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    return path


def _link(name: str, target: str) -> Change:
    return lambda run, outside: _clear(run / name).symlink_to(target.format(outside=outside))


def _write(name: str, content: bytes) -> Change:
    return lambda run, outside: _clear(run / name).write_bytes(content)


def _make(names: list[str]) -> Change:
    return lambda run, outside: [(run / "checkpoints" / name).mkdir(parents=True) for name in names]


# Changes of a run's folder.
HOSTILE_FOLDERS: dict[str, Change] = {
    "no checkpoints": lambda run, outside: shutil.rmtree(run / "checkpoints"),
    "checkpoints as a file": _write("checkpoints", b""),
    "checkpoint.json in another encoding": _write(INFO_PATH, b"\xff\xfe{}"),
    **{f"{name} -> {target}": _link(name, target) for name, targets in LINKS.items() for target in targets},
    **{
        f"{name}: {text[:40]!a}": _write(name, text.encode(errors="surrogatepass"))
        for name, texts in TEXTS.items()
        for text in texts
    },
    **{
        f"{name} as a pipe": lambda run, _, name=name: os.mkfifo(_clear(run / name))
        for name in ("data.json", "eval/metrics.json")
    },
    **{name: _make(folders) for name, folders in FOLDERS.items()},
}
