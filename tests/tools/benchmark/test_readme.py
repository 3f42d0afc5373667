"""The section "Why is my run slow?": its example and every command run as printed."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ipsam.cli.benchmark import main
from ipsam.engine.runs.configuration import compose_experiment
from ipsam.utils.resources import CONFIGS

README = Path(__file__).parents[3] / "ipsam/tools/benchmark/README.md"
SECTION = README.read_text(encoding="utf-8").partition("## Why is my run slow?")[2].partition("\n## ")[0]
*_, COMMANDS = re.findall(r"```\w*\n(.*?)```", SECTION, re.S)


def output(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(README.parents[3]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_profile_shows_the_wait_for_data(tmp_path: Path) -> None:
    """The example, with fewer scenes."""
    (example,) = re.findall(r"`(ipsam train .*)`", SECTION)
    smaller = "run_dir=run engine.epochs=1 engine.references=false engine.log_every=1 data.image_size=64"
    smaller += " data.synthetic.num_train=24 data.synthetic.num_test=2"
    output(tmp_path, "-m", *shlex.split(f"{example.replace('[20,30]', '[2,3]')} {smaller}"))
    log = (tmp_path / "run/train.log").read_text()
    assert re.search(r"^ *enumerate\(DataLoader\)#.* \d", log, re.M)
    assert (tmp_path / "run/tensorboard/steps_2_to_3.pt.trace.json.gz").is_file()


@pytest.mark.parametrize("command", COMMANDS.strip().splitlines())
def test_benchmarks_take_their_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """The benchmarks themselves run in test_benchmarks.py."""
    words = shlex.split(command, comments=True)
    monkeypatch.setattr(f"ipsam.tools.benchmark.{words[2]}.benchmark", lambda options: (str(options), {}))
    monkeypatch.setattr(sys, "argv", words[1:])
    main()
    assert "repeats=1" in capsys.readouterr().out


@pytest.mark.slow
def test_named_options_exist() -> None:
    named = re.findall(r"`((?:engine|data)\.[\w.]+)(?:=([\w/]+))?`", SECTION)
    assert len(named) >= 12
    for key, value in named:
        config = compose_experiment(CONFIGS, "quickstart", [f"{key}={value}"] if value else [])
        assert OmegaConf.select(config, key, default=named) is not named, key
