"""The command benchmark, with its timings replaced."""

import sys

import pytest

from ipsam.cli import benchmark


@pytest.mark.parametrize(("command", "printed"), [("inference", True), ("all", True), ("data", False)])
def test_printed_speed_stands_below_ours(
    command: str, printed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "reports", lambda *_: [("| ipsam/sam2 |", {})])
    monkeypatch.setattr(sys, "argv", ["ipsam benchmark", command])
    benchmark.main()
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "| ipsam/sam2 |"
    assert [line.partition(": 29 against 35 (0.83). Odd: by FLOPs it would be 0.97")[1] != "" for line in rest] == [
        True
    ] * printed
