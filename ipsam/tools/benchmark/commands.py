"""Sub-commands of ``ipsam benchmark``. Each module of its name has ``DEFAULTS`` and ``benchmark``."""

import argparse
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ipsam.tools.benchmark import Report

MODEL = ("device", "variant", "sizes", "batches")
OPTIONS: dict[str, dict[str, Any]] = {
    "repeats": {"type": int, "help": "number of timings; their median is printed"},
    "device": {"help": "cpu or cuda; by default a GPU if there is one"},
    "variant": {"help": "variant of the backbone: large (the default), base_plus, small, tiny or micro"},
    "sizes": {"type": int, "nargs": "+", "help": "sides of the square input, multiples of 32"},
    "batches": {"type": int, "nargs": "+", "help": "batch sizes"},
    "compile": {"action": "store_true", "default": None, "help": "time torch.compile too"},
    "ckpt": {"help": "model to export; by default one with random weights"},
    "photos": {"type": Path, "help": "folder of photos; by default some are generated"},
    "masks": {"type": Path, "help": "folder of their masks, PNG"},
    "stems": {"type": Path, "help": "file with the stems of the photos to score, one a line; others calibrate int8"},
    "threads": {"type": int, "help": "CPU threads; by default torch's own choice"},
}


class Command(NamedTuple):
    """A benchmark's help text, and its options besides ``repeats``."""

    help: str
    options: Sequence[str] = ()


COMMANDS = {
    "metrics": Command("the fused metrics against PySODMetrics"),
    "data": Command("reading training pairs against Pillow and torchvision"),
    "inference": Command("the model against sam2's own image path", (*MODEL, "compile", "threads")),
    "train": Command(
        "the training loop against the straightforward one; memory of a step", (*MODEL, "compile", "threads")
    ),
    "scaling": Command("cost by input size and batch size; time by part and operator", (*MODEL, "threads")),
    "formats": Command(
        "files of ipsam export against PyTorch: size, differences, scores and speed",
        ("variant", "sizes", "threads", "ckpt", "photos", "masks", "stems"),
    ),
    "evaluation": Command("evaluation against predicting alone and scoring alone", MODEL),
}
ALL = "all"
GPU = "gpu"
IN_ALL = ("inference", "train", "scaling")


def add_parsers(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each benchmark, and ``all``."""
    commands = parser.add_subparsers(dest="command", required=True)
    proof = Command("everything that a GPU has to prove; on a CPU its rehearsal with a tiny model", MODEL)
    in_turn = Command(f"{', '.join(IN_ALL)} in turn, with --compile for inference", (*MODEL, "threads"))
    for name, command in {**COMMANDS, ALL: in_turn, GPU: proof}.items():
        added = commands.add_parser(name, help=command.help, description=command.help)
        for option in ("repeats", *command.options):
            added.add_argument(f"--{option}", **OPTIONS[option])
        out = "write the figures to this JSON file, and the same as a page to an .md file beside it"
        added.add_argument("--out", type=Path, help=out)


def reports(command: str, options: dict[str, Any]) -> Iterator[Report]:
    """Run a benchmark. ``all`` and ``gpu`` yield a report after each part, so that a later failure loses nothing.

    Args:
        command: a name of ``COMMANDS``, ``all`` or ``gpu``.
        options: values of ``OPTIONS``; None means the benchmark's default.

    Raises:
        ValueError: an option has an invalid value.
        ValueError: or parts of ``gpu`` failed, at the end.
    """
    given = {name: value for name, value in options.items() if name in OPTIONS and value is not None}
    if command in COMMANDS:
        yield run(command, given)
        return
    figures: dict[str, Any] = {}
    for name, (text, figures[name]) in _parts(command, given):
        yield f"## {name}\n\n{text}\n", dict(figures)


def _parts(command: str, given: dict[str, Any]) -> Iterator[tuple[str, Report]]:
    if command == GPU:
        yield from run(GPU, given)
        return
    for name in IN_ALL:
        yield name, run(name, given | ({"compile": True} if name == "inference" else {}))


def run(name: str, given: dict[str, Any]) -> Any:
    """Import a benchmark, which takes seconds, and run it with the given options."""
    from ipsam.tools.benchmark.options import BenchmarkOptions

    module = import_module(f"ipsam.tools.benchmark.{name}")
    return module.benchmark(BenchmarkOptions.of(module.DEFAULTS, **given))
