"""What ``scripts/benchmark.py`` can do."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from ipsam.tools.benchmark import Report

OF_MODEL = ("device", "variant", "sizes", "batches")
OPTIONS: dict[str, dict[str, Any]] = {
    "repeats": {"type": int, "help": "of each timing; medians are printed"},
    "device": {"help": "cpu or cuda; by default a GPU if there is one"},
    "variant": {"help": "of the backbone: large (the default), base_plus, small, tiny or micro"},
    "sizes": {"type": int, "nargs": "+", "help": "sides of the square input, multiples of 32"},
    "batches": {"type": int, "nargs": "+", "help": "images that go through the model together"},
    "compile": {"action": "store_true", "default": None, "help": "time torch.compile too"},
    "threads": {"type": int, "help": "CPU threads; by default torch's own choice"},
}


class Command(NamedTuple):
    """A benchmark.

    Attributes:
        run: takes ``repeats`` and the ``options`` that were given, of a model also ``configs``.
        help: what it compares.
        options: those of ``OPTIONS`` that it takes besides ``repeats``.
    """

    run: Callable[..., Report]
    help: str
    options: Sequence[str] = ()


def _benchmark(name: str) -> Callable[..., Report]:
    """Return a function that imports a benchmark, which takes seconds, only when it runs it."""

    def run(**options: Any) -> Report:
        module = import_module(f"ipsam.tools.benchmark.{name}")
        report: Report = getattr(module, f"benchmark_{name}")(**options)
        return report

    return run


COMMANDS = {
    "metrics": Command(_benchmark("metrics"), "the fused metrics against PySODMetrics; one process against two"),
    "data": Command(_benchmark("data"), "reading training pairs against Pillow and torchvision"),
    "inference": Command(
        _benchmark("inference"),
        "the model against sam2's own image path and transformers' SAM2",
        (*OF_MODEL, "compile", "threads"),
    ),
    "train": Command(
        _benchmark("training"),
        "the training loop against the straightforward one; memory of a step",
        (*OF_MODEL, "compile", "threads"),
    ),
    "scaling": Command(
        _benchmark("scaling"), "cost by input size, batch and number of files; where time goes", (*OF_MODEL, "threads")
    ),
    "evaluation": Command(_benchmark("evaluation"), "evaluation against predicting alone and scoring alone", OF_MODEL),
}
ALL = "all"
IN_ALL = ("inference", "train", "scaling")  # minutes on a large GPU


def add_parsers(parser: argparse.ArgumentParser) -> None:
    """A sub-command for each benchmark, and for several of them one after the other."""
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        _add_options(commands.add_parser(name, help=command.help), command.options)
    help_of_all = f"{', '.join(IN_ALL)}, one after the other, with --compile for inference"
    _add_options(commands.add_parser(ALL, help=help_of_all), (*OF_MODEL, "threads"))


def reports(command: str, options: dict[str, Any], *, configs: Path) -> Iterator[Report]:
    """The report of a command; of ``all`` one whenever a part is done, with the figures of those before as well.

    Args:
        command: a name of ``COMMANDS``, or ``all``.
        options: as the command line gives them; those that are None are left to the command.
        configs: the folder ``configs/`` of the repository.

    Raises:
        ValueError: for an option that can't be.
    """
    given = {name: value for name, value in options.items() if name in OPTIONS and value is not None}
    threads = given.pop("threads", None)
    if threads is not None:
        if threads < 1:
            raise ValueError(f"--threads must be at least 1, not {threads}")
        import torch

        torch.set_num_threads(threads)
    if command != ALL:
        yield _run(command, given, configs)
        return
    figures: dict[str, Any] = {}
    for name in IN_ALL:
        text, figures[name] = _run(name, given | ({"compile": True} if name == "inference" else {}), configs)
        yield f"## {name}\n\n{text}\n", dict(figures)


def _run(name: str, given: dict[str, Any], configs: Path) -> Report:
    command = COMMANDS[name]
    return command.run(**given, **({"configs": configs} if command.options else {}))


def _add_options(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    for name in ("repeats", *names):
        parser.add_argument(f"--{name}", **OPTIONS[name])
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
