import argparse
from pathlib import Path
from typing import Any

import pytest
import torch

from ipsam.tools.benchmark import commands, request
from ipsam.tools.benchmark.commands import COMMANDS, IN_ALL, Command, add_parsers, reports
from ipsam.tools.benchmark.request import Defaults, Report, request_of

CPU = Defaults(sizes=(32,), batches=(1, 2), repeats=3)
CUDA = Defaults(sizes=(64,), batches=(4,), repeats=5)
CONFIGS = Path("configs")


def parsed(*arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_parsers(parser)
    return vars(parser.parse_args(arguments))


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What each benchmark is given, instead of its being run."""
    seen: dict[str, dict[str, Any]] = {}

    def fake(name: str, command: Command) -> Command:
        def remember(**options: Any) -> tuple[str, dict[str, Any]]:
            seen[name] = options
            return f"table of {name}", options

        return command._replace(run=remember)

    monkeypatch.setattr(commands, "COMMANDS", {name: fake(name, command) for name, command in COMMANDS.items()})
    return seen


def run(*arguments: str) -> list[Report]:
    options = parsed(*arguments)
    return list(reports(options.pop("command"), options, configs=CONFIGS))


def test_what_is_not_asked_for_is_left_to_the_benchmark(given: dict[str, dict[str, Any]]) -> None:
    run("inference")
    assert given["inference"] == {"configs": CONFIGS}
    run("inference", "--sizes", "64", "96", "--compile", "--out", "a.json", "--threads", "1")
    assert given["inference"] == {"configs": CONFIGS, "sizes": [64, 96], "compile": True}
    assert torch.get_num_threads() == 1
    run("data", "--repeats", "2")
    assert given["data"] == {"repeats": 2}


@pytest.mark.parametrize(
    ("command", "option"),
    [("evaluation", "--threads=2"), ("evaluation", "--compile"), ("scaling", "--compile"), ("data", "--sizes=64")],
)
def test_an_option_that_would_do_nothing_is_refused(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(command, option)
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err


def test_all_runs_several_and_compiles_for_inference(given: dict[str, dict[str, Any]]) -> None:
    """What is done is told at once, so that it is not lost where a later part fails."""
    told = run("all", "--sizes", "64")
    assert [text.split("\n")[0] for text, _ in told] == [f"## {name}" for name in IN_ALL]
    assert [list(figures) for _, figures in told] == [list(IN_ALL[:count]) for count in (1, 2, 3)]
    assert [name for name, options in given.items() if options.get("compile")] == ["inference"]
    assert all(options["sizes"] == [64] for options in given.values())


def test_a_request_has_the_defaults_of_its_device() -> None:
    request = request_of(CPU, CUDA, configs=CONFIGS, device="cpu")
    assert (request.sizes, request.batches, request.repeats, request.variant) == ((32,), (1, 2), 3, "large")
    asked = request_of(CPU, CUDA, configs=CONFIGS, device="cpu", sizes=[64], batches=[3], repeats=1, compile=True)
    assert (asked.sizes, asked.batches, asked.repeats, asked.compile) == ([64], [3], 1, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "abacus"}, "device=abacus can't be used here"),
        ({"variant": "huge"}, "--variant must be one of large, .*, not 'huge'"),
        ({"sizes": [0]}, r"--sizes must be whole numbers from 1, not \[0\]"),
        ({"sizes": [64, 50]}, "--sizes must be multiples of 32, not 50"),
        ({"batches": []}, r"--batches must be whole numbers from 1, not \[\]"),
        ({"repeats": 0}, "--repeats must be at least 1, not 0"),
    ],
)
def test_what_can_not_be_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        request_of(CPU, CUDA, configs=CONFIGS, **options)


def test_no_threads_no_figures() -> None:
    with pytest.raises(ValueError, match="--threads must be at least 1, not 0"):
        run("inference", "--threads", "0")


def test_without_cuda_a_cpu_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step takes on a Mac's GPU nothing tells."""
    monkeypatch.setattr(request, "best_device", lambda: torch.device("mps"))
    monkeypatch.setattr(request, "checked_device", torch.device)
    assert request_of(CPU, CUDA, configs=CONFIGS).device == torch.device("cpu")
    with pytest.raises(ValueError, match="--device must be cpu or cuda, not mps"):
        request_of(CPU, CUDA, configs=CONFIGS, device="mps")
