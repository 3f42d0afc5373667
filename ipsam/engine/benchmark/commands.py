"""What ``scripts/benchmark.py`` can do."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ipsam.engine.benchmark.data import benchmark_data
from ipsam.engine.benchmark.evaluation import benchmark_evaluation
from ipsam.engine.benchmark.inference import benchmark_inference
from ipsam.engine.benchmark.metrics import benchmark_metrics
from ipsam.engine.benchmark.request import Report
from ipsam.engine.benchmark.scaling import benchmark_scaling
from ipsam.engine.benchmark.training import benchmark_training
from ipsam.model.backbone import SAM2_YAML


class Command(NamedTuple):
    """A benchmark.

    Attributes:
        run: takes ``repeats`` if they are asked for; with ``of_model`` also what ``request_of`` takes.
        help: what it compares.
        of_model: whether it times the model.
    """

    run: Callable[..., Report]
    help: str
    of_model: bool = True


def benchmark_all(**options: Any) -> Report:
    """The benchmarks of ``IN_ALL``, one after the other, with ``torch.compile`` for inference."""
    text, data = [], {}
    for name in IN_ALL:
        compiles = {"compile": True} if name == "inference" else {}
        part, data[name] = COMMANDS[name].run(**options | compiles)
        text.append(f"## {name}\n\n{part}")
    return "\n\n".join(text), data


IN_ALL = ("inference", "train", "scaling")  # minutes on a large GPU
COMMANDS = {
    "metrics": Command(benchmark_metrics, "the fused metrics against PySODMetrics; one process against two", False),
    "data": Command(benchmark_data, "reading training pairs against Pillow and torchvision", False),
    "inference": Command(benchmark_inference, "the model against sam2's own image path and transformers' SAM2"),
    "train": Command(benchmark_training, "the training loop against the straightforward one; memory of a step"),
    "scaling": Command(benchmark_scaling, "cost by input size, batch and number of files; where time goes"),
    "evaluation": Command(benchmark_evaluation, "evaluation against predicting alone and scoring alone"),
    "all": Command(benchmark_all, f"{', '.join(IN_ALL)}, one after the other"),
}


def add_arguments(parser: argparse.ArgumentParser, command: Command) -> None:
    """The options of a command."""
    parser.add_argument("--repeats", type=int, help="of each timing; medians are printed")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    if command.of_model:
        parser.add_argument("--device", help="cpu or cuda; by default a GPU if there is one")
        parser.add_argument("--variant", choices=list(SAM2_YAML), help="of the backbone")
        parser.add_argument("--sizes", type=int, nargs="+", help="sides of the square input, multiples of 32")
        parser.add_argument("--batches", type=int, nargs="+", help="images that go through the model together")
        parser.add_argument("--compile", action="store_true", default=None, help="time torch.compile too")
        parser.add_argument("--threads", type=int, help="CPU threads; by default torch's own choice")


def run(command: Command, options: dict[str, Any], *, configs: Path) -> Report:
    """Run a command with the options given; those that are None are left to it.

    Args:
        command: one of ``COMMANDS``.
        options: as ``add_arguments`` names them.
        configs: the folder ``configs/`` of the repository.

    Raises:
        ValueError: for an option that can't be.
    """
    given = {name: value for name, value in options.items() if value is not None and name != "out"}
    threads = given.pop("threads", None)
    if threads is not None:
        if threads < 1:
            raise ValueError(f"--threads must be at least 1, not {threads}")
        torch.set_num_threads(threads)
    return command.run(**given, **({"configs": configs} if command.of_model else {}))
