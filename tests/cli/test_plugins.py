"""Plugins: a user's own classes are built where she names their package, and never because a checkpoint names it."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from support.small_run import TINY

import ipsam
from ipsam.engine.runs import plugins
from ipsam.engine.runs.configuration import build_model, compose_experiment
from ipsam.utils.resources import CONFIGS

MODULE = """
from dataclasses import dataclass
from pathlib import Path
import subprocess
import torch
from torch import nn
from ipsam.model.fusion import Fusion

Path({canary!r}).touch()  # at the import of the package


class MyGating(Fusion):
    def __init__(self, dim: int, strength: float = 1.0) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, fg, bg):
        return fg - self.strength * bg, None


class Runner:
    def __init__(self, command: str) -> None:
        subprocess.run(command, shell=True, check=True)
"""


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that the import of the package ``my_pkg``, in the working folder, would write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "_trusted", set())
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "my_pkg").mkdir()
    (tmp_path / "my_pkg" / "__init__.py").write_text(MODULE.format(canary=str(tmp_path / "canary")))
    yield tmp_path / "canary"
    sys.modules.pop("my_pkg", None)


def config_with(gating: dict[str, Any]) -> Any:
    """The quickstart's model at 64 px with another gating."""
    model = compose_experiment(CONFIGS, "quickstart", ["data.image_size=64"]).model
    OmegaConf.resolve(model)
    OmegaConf.update(model, "gating", gating, merge=False)
    return model


OWN = {"_target_": "my_pkg.MyGating", "dim": 64, "strength": 0.5}


def test_a_named_package_is_built(canary: Path) -> None:
    plugins.trust(["my_pkg"])
    assert not canary.exists()  # imported only where a model needs it
    assert build_model(config_with(OWN)).gating.strength == 0.5


def test_a_package_that_nobody_named_is_not_imported(canary: Path) -> None:
    sys.path.append(str(canary.parent))
    with pytest.raises(ValueError, match=r"model\.gating\._target_ is 'my_pkg\.MyGating'.*plugins=\[my_pkg\]"):
        build_model(config_with(OWN))
    assert not canary.exists()


@pytest.mark.parametrize(
    "target",
    [
        "my_pkg.torch.load",
        "my_pkg.subprocess.Popen",
        "my_pkg.torch.nn.Identity",
        "my_pkg.Path",
        "my_pkg.Runner",
        "my_pkg.MyGating.__init__",
        "os.system",
        "subprocess.Popen",
    ],
)
def test_a_package_lends_only_its_own_modules_and_dataclasses(canary: Path, target: str) -> None:
    plugins.trust(["my_pkg"])
    with pytest.raises(ValueError, match=rf"model\.gating\._target_ is '{target}'; allowed are ipsam\.model\."):
        build_model(config_with({"_target_": target}))


@pytest.mark.parametrize(
    ("gating", "message"),
    [
        (OWN | {"strength": "strong"}, r"model\.gating\.strength must be float, not 'strong'"),
        (OWN | {"colour": 1}, r"model\.gating: .*colour"),
        ({"_target_": "my_pkg.Missing"}, r"_target_ my_pkg\.Missing cannot be imported"),
    ],
)
def test_errors_of_a_plugin_name_its_key(canary: Path, gating: dict[str, Any], message: str) -> None:
    plugins.trust(["my_pkg"])
    with pytest.raises(ValueError, match=message):
        build_model(config_with(gating))


@pytest.mark.parametrize("name", ["my-pkg", "../x", "a b", ""])
def test_a_name_of_no_package_is_refused(canary: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a package"):
        plugins.trust([name])


def shared_folder(folder: Path) -> Path:
    """A model's folder, as somebody else made it, whose configuration names the user's package."""
    ipsam.load("micro", device="cpu").save_pretrained(folder)
    about = json.loads((folder / "config.json").read_text())
    about["model"]["gating"] = OWN
    about["plugins"] = ["my_pkg"]
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def test_a_downloaded_model_never_names_a_package(canary: Path, tmp_path: Path) -> None:
    sys.path.append(str(tmp_path))
    folder = shared_folder(tmp_path / "shared")
    with pytest.raises(ValueError, match=r"plugins=\[my_pkg\]"):
        ipsam.load(folder, device="cpu")
    assert not canary.exists()
    with pytest.raises(ValueError, match=r"does not fit the model of"):  # built, but the weights are of PSG
        ipsam.load(folder, device="cpu", plugins=["my_pkg"])
    assert canary.exists()


@pytest.mark.parametrize(
    "given",
    [
        [
            "model.gating._target_=my_pkg.MyGating",
            *(f"~model.gating.{key}" for key in ("hidden", "context", "padding_mode")),
        ],
        ["~model.gating", "+model.gating={_target_: my_pkg.MyGating, dim: 64}"],
    ],
    ids=["target", "section"],
)
def test_training_takes_a_dotted_name_and_evaluation_needs_plugins(
    canary: Path, script: Callable[..., Any], given: list[str]
) -> None:
    done = script("train", *TINY, *given)
    assert done.status == 0, done.err
    saved = yaml.safe_load(Path("run/config.yaml").read_text())
    assert saved["plugins"] == ["my_pkg"]
    assert saved["model"]["gating"]["_target_"] == "my_pkg.MyGating"

    plugins._trusted.clear()  # another process
    canary.unlink()
    sys.modules.pop("my_pkg")
    assert "plugins=[my_pkg]" in script("eval", "ckpt=run").error
    assert not canary.exists()
    again = script("eval", "ckpt=run", "plugins=my_pkg", "out=again")
    assert again.status == 0, again.err
    assert json.loads(Path("again/metrics.json").read_text()) == json.loads(Path("run/eval/metrics.json").read_text())
