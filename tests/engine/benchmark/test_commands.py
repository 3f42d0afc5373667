import argparse
from pathlib import Path
from typing import Any

import pytest
import torch

from ipsam.engine.benchmark import commands
from ipsam.engine.benchmark.commands import COMMANDS, IN_ALL, Command, add_arguments, run
from ipsam.engine.benchmark.request import Defaults, request_of

CPU = Defaults(sizes=(32,), batches=(1, 2), repeats=3)
CUDA = Defaults(sizes=(64,), batches=(4,), repeats=5)
CONFIGS = Path("configs")


def parsed(command: Command, *arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_arguments(parser, command)
    return vars(parser.parse_args(arguments))


def test_what_is_not_asked_for_is_left_to_the_benchmark() -> None:
    given: dict[str, Any] = {}

    def remember(**options: Any) -> tuple[str, dict[str, Any]]:
        given.update(options)
        return "", {}

    of_model = Command(remember, "")
    run(of_model, parsed(of_model), configs=CONFIGS)
    assert given == {"configs": CONFIGS}
    options = parsed(of_model, "--sizes", "64", "96", "--compile", "--out", "a.json", "--threads", "1")
    run(of_model, options, configs=CONFIGS)
    assert given == {"configs": CONFIGS, "sizes": [64, 96], "compile": True}
    assert torch.get_num_threads() == 1
    given.clear()
    other = Command(remember, "", of_model=False)
    run(other, parsed(other, "--repeats", "2"), configs=CONFIGS)
    assert given == {"repeats": 2}


def test_all_runs_several_and_compiles_for_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(name: str) -> Command:
        return Command(lambda **options: (f"table of {name}", options), "")

    monkeypatch.setattr(commands, "COMMANDS", {name: fake(name) for name in IN_ALL})
    text, data = COMMANDS["all"].run(configs=CONFIGS, sizes=[64])
    assert text.startswith("## inference\n\ntable of inference\n\n## train")
    assert list(data) == list(IN_ALL)
    compiles = [name for name, options in data.items() if options.get("compile")]
    assert compiles == ["inference"]
    assert all(options["sizes"] == [64] for options in data.values())


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
        ({"batches": []}, r"--batches must be whole numbers from 1, not \[\]"),
        ({"repeats": 0}, "--repeats must be at least 1, not 0"),
    ],
)
def test_what_can_not_be_is_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        request_of(CPU, CUDA, configs=CONFIGS, **options)


def test_no_threads_no_figures() -> None:
    with pytest.raises(ValueError, match="--threads must be at least 1, not 0"):
        run(COMMANDS["inference"], {"threads": 0}, configs=CONFIGS)
