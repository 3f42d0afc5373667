"""Command line of the benchmarks: options, defaults and errors."""

import argparse
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ipsam.tools.benchmark import commands, options
from ipsam.tools.benchmark.commands import IN_ALL, add_parsers, reports
from ipsam.tools.benchmark.options import BenchmarkOptions

DEFAULTS = {
    "cpu": {"sizes": (32,), "batches": (1, 2), "repeats": 3},
    "cuda": {"sizes": (64,), "batches": (4,), "repeats": 5},
}


def parsed(*arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_parsers(parser)
    return vars(parser.parse_args(arguments))


def run(*arguments: str) -> list[tuple[str, Any]]:
    given = parsed(*arguments)
    return list(reports(given.pop("command"), given))


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options that each benchmark receives, instead of running."""
    found: dict[str, Any] = {}

    def fake(module: str) -> SimpleNamespace:
        name = module.rpartition(".")[2]
        found.pop(name, None)
        return SimpleNamespace(
            DEFAULTS=DEFAULTS, benchmark=lambda given: ("table", {name: found.setdefault(name, given)})
        )

    monkeypatch.setattr(commands, "import_module", fake)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: found.update(threads=count))
    return found


def test_options_override_the_defaults_of_the_device(received: dict[str, Any]) -> None:
    run("inference", "--device", "cpu")
    first = received["inference"]
    assert (first.sizes, first.batches, first.repeats) == ((32,), (1, 2), 3)
    assert (first.variant, first.compile) == ("large", False)
    run("inference", "--device=cpu", "--sizes", "64", "96", "--repeats=1", "--compile", "--out=a.json", "--threads=1")
    second = received["inference"]
    assert (second.sizes, second.batches, second.repeats, second.compile) == ([64, 96], (1, 2), 1, True)
    assert received["threads"] == 1


def test_all_reports_after_each_part_and_compiles_for_inference(received: dict[str, Any]) -> None:
    found = run("all", "--sizes", "64")
    assert [text.split("\n")[0] for text, _ in found] == [f"## {name}" for name in IN_ALL]
    assert [list(figures) for _, figures in found] == [list(IN_ALL[:count]) for count in (1, 2, 3)]
    assert [name for name, given in received.items() if given.compile] == ["inference"]
    assert all(given.sizes == [64] for given in received.values())


@pytest.mark.parametrize("arguments", [("evaluation", "--threads=2"), ("scaling", "--compile"), ("data", "--sizes=64")])
def test_option_without_effect_is_refused(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*arguments)
    assert f"unrecognized arguments: {arguments[1]}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device": "abacus"}, "device=abacus can't be used here"),
        ({"variant": "huge"}, "--variant must be one of large, .*, not 'huge'"),
        ({"sizes": [0]}, r"--sizes must be positive integers, not \[0\]"),
        ({"sizes": [64, 50]}, "--sizes must be multiples of 32, not 50"),
        ({"batches": []}, r"--batches must be positive integers, not \[\]"),
        ({"repeats": 0}, "--repeats must be at least 1, not 0"),
        ({"threads": 0}, "--threads must be at least 1, not 0"),
    ],
)
def test_invalid_value_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BenchmarkOptions.of(DEFAULTS, **given)


def test_cpu_is_measured_on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory cannot be measured on MPS."""
    monkeypatch.setattr(options, "best_device", lambda: torch.device("mps"))
    monkeypatch.setattr(options, "checked_device", torch.device)
    assert BenchmarkOptions.of(DEFAULTS).device == torch.device("cpu")
    with pytest.raises(ValueError, match="--device must be cpu or cuda, not mps"):
        BenchmarkOptions.of(DEFAULTS, device="mps")
