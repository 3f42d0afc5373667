"""The commands as a whole: what exists, what they explain, and how little they import for it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from support.saved_maps import write_maps, write_masks
from support.small_run import SCRIPTS

from ipsam.__main__ import COMMANDS, main
from ipsam.cli.help import help_of
from ipsam.utils.console import printable
from ipsam.utils.resources import CONFIGS

CONFIGURED = [name for name in COMMANDS if name != "benchmark"]
WITHOUT_TORCH = """
import sys
from ipsam.__main__ import COMMANDS, main

for arguments in (*([name, "--help"] for name in COMMANDS), ["score", "maps=One", "masks=CAMO", "out=out"]):
    sys.argv = ["ipsam", *arguments]
    try:
        main()
    except SystemExit as end:  # argparse's
        assert not end.code
    loaded = {"torch", "torchvision", "accelerate", "transformers"} & sys.modules.keys()
    assert not loaded, (arguments, loaded)
"""

FORBIDDEN = ["torchvision", "torch._dynamo", "torch._inductor", "timm", "sam2", "peft", "transformers", "accelerate"]
FORBIDDEN += ["wandb", "tensorboard", "matplotlib", "scipy", "huggingface_hub", "requests", "av", "onnxruntime"]
PREDICTION = f"""
import sys
from ipsam.__main__ import main

sys.argv = ["ipsam", "predict", "input=photo.png", "output=masks", "save=[map,overlay,cutout]", "device=cpu"]
main()
loaded = set({FORBIDDEN}) & sys.modules.keys()
assert not loaded, loaded
"""


def ipsam(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["ipsam", *arguments])
    main()


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_module_and_script(name: str) -> None:
    assert (SCRIPTS.parent / "ipsam" / "cli" / f"{name}.py").is_file()
    assert f'run("{name}")' in (SCRIPTS / f"{name}.py").read_text()


def test_help_and_score_do_not_import_torch() -> None:
    write_masks("CAMO")
    write_maps("One", ("a", "b", "c"))
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "| CAMO " in done.stdout
    assert Path("out/report.html").is_file()


@pytest.mark.slow
def test_prediction_imports_only_what_it_needs() -> None:
    """By the default model; each of the packages takes a tenth of a second to two."""
    cv2.imwrite("photo.png", np.zeros((40, 50, 3), np.uint8))
    done = subprocess.run([sys.executable, "-c", PREDICTION], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path("masks/map/photo.png").is_file()


@pytest.mark.parametrize("name", CONFIGURED)
def test_help_explains_every_option(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Each key of the configuration is shown with its default, and explained unless its name says all."""
    text = help_of(name)
    for called in (f"ipsam {name}", f"python -m ipsam {name}", f"scripts/{name}.py"):
        monkeypatch.setattr(sys, "argv", [called])
        lines = [line for line in printable(text).splitlines() if not line.startswith(str(CONFIGS))]
        assert len(lines) <= 60
        assert max(map(len, lines)) <= 120
    assert f"ipsam {name}" in text
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    keys = [key for key in config if key not in ("defaults", "hydra")]
    options = text.partition("Options, as KEY=VALUE")[2]
    assert re.findall(r"^(\w+):(?! \w+, )", options, flags=re.M)[: len(keys)] == keys
    obvious = {"paths", "data", "engine", "name", "seed"}
    assert [key for key in keys if key not in obvious and not re.search(rf"^{key}:.*# ", options, re.M)] == []


def test_help_runs_nothing(script: Callable[..., Any]) -> None:
    done = script("train", "experiment=quickstart", "--help")
    assert done.status == 0
    assert "kvasir/mdsam" in done.out
    assert "\nexperiment: cod_r32, ablation/baseline, " in done.out
    assert "--cfg job" in done.out
    assert not list(Path.cwd().iterdir())


def test_without_a_command_all_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ipsam(monkeypatch)
    listed = capsys.readouterr().out
    assert [name for name, about in COMMANDS.items() if f"{name:<10}  {about}" in listed] == list(COMMANDS)


@pytest.mark.parametrize(
    ("command", "arguments", "shown"),
    [
        ("visualize", ["ckpt=run", "stems=[a,b]", "out=out"], r"own: .*/2 .*image/s"),
        ("params", ["experiments=[quickstart,micro]"], r"/2 .*model/s"),
    ],
)
@pytest.mark.usefixtures("run")
def test_progress_is_shown(
    script: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, command: str, arguments: list[str], shown: str
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert re.search(shown, script(command, *arguments).err)


@pytest.mark.parametrize(("typed", "meant"), [("trian", "train"), ("check-data", "check_data"), ("evaluate", "eval")])
def test_a_mistyped_command_is_corrected(monkeypatch: pytest.MonkeyPatch, typed: str, meant: str) -> None:
    with pytest.raises(SystemExit, match=rf"no command '{typed}'; did you mean ipsam {meant}\?"):
        ipsam(monkeypatch, typed)
