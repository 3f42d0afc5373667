"""Overrides: texts stay as typed, and what Hydra refuses is explained with the corrected command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ipsam.cli.errors import with_keys
from ipsam.cli.overrides import as_typed
from ipsam.utils.resources import CONFIGS


def read(command: str, argument: str) -> object:
    """The value that Hydra reads."""
    file = OmegaConf.load(CONFIGS / f"{command}.yaml")
    (parsed,) = OverridesParser.create().parse_overrides([as_typed(argument, file)])
    return parsed.value()


@pytest.mark.parametrize(
    "path",
    [
        "2024_02_20",
        "1e3",
        "007",
        "1.10",
        "true",
        "x=1",
        "a (1), b",
        "[a].jpg",
        "été",
        'say "hi"',
        "C:\\a\\",
        "null.png",
    ],
)
@pytest.mark.parametrize(
    ("command", "key"),
    [
        ("predict", "input"),
        ("predict", "output"),
        ("predict", "ckpt"),
        ("eval", "out"),
        ("eval", "base"),
        ("score", "maps"),
        ("score", "stems"),
        ("download", "archive"),
        ("tables", "runs"),
        ("train", "run_dir"),
        ("train", "data.cache"),
        ("train", "paths.data"),
        ("train", "model.backbone.checkpoint"),
        ("train", "model.backbone.pretrained"),
    ],
)
def test_paths_stay_as_typed(command: str, key: str, path: str) -> None:
    assert read(command, f"{key}={path}") == path


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("data.exclude=[2021_05_17,own/img (1),b]", ["2021_05_17", "own/img (1)", "b"]),
        ('data.exclude=["a, b", 007]', ["a, b", "007"]),
        ("data.test=[{name: own, images: 2024_01, masks: gt (2)}, CAMO]",
         [{"name": "own", "images": "2024_01", "masks": "gt (2)"}, "CAMO"]),
        ("data.train=[]", []),
        ("data.cache=null", None),
        ("data.root=${paths.data}", "${paths.data}"),
        ("engine.lr=1e-3", 1e-3),
        ("seed=7", 7),
        ("+paths.data='a, b'", "a, b"),
    ],
)  # fmt: skip
def test_lists_numbers_and_null_are_read(argument: str, value: object) -> None:
    assert read("train", argument) == value


def test_a_switch_is_no_path() -> None:
    assert read("eval", "maps=true") is True
    assert read("score", "maps=true") == "true"


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("train", ["engine.epoch=1"], "engine.epoch: unknown key; did you mean engine.epochs=1?"),
        ("train", ["epochs=1"], "epochs: unknown key; did you mean engine.epochs=1?"),
        ("train", ["experiments=cod_r16"], "experiments: unknown key; did you mean experiment=cod_r16?"),
        ("train", ["+sclae=toy"], "sclae: unknown key; did you mean scale?"),
        ("train", ["+paths.dta=/data"], "paths.dta: unknown key; did you mean paths.data=/data?"),
        ("eval", ["ckpt=micro", "++paths.datasets=x"], "paths.datasets: unknown key; did you mean paths.data=x?"),
        ("train", ["scale=toy"], "write +scale=toy"),
        ("train", ["seed=1,2"], "seed=1,2: commas separate the runs of a sweep (-m)"),
        ("train", ["experiment=quickstrt"], "experiment=quickstrt: no such file; did you mean experiment=quickstart?"),
        ("train", ["experiment=zzz"], "experiment=zzz: no such file; there are ablation/baseline, "),
        ("train", ["data=kvasirr"], "data=kvasirr: no such file; did you mean data=kvasir?"),
        ("train", ["resume=yes"], "resume must be true or false, not 'yes'"),
        ("eval", ["protocol={min_max:", "false}"], "write 'protocol={min_max: false}'"),
        ("eval", ["protocol.min_max=false"], "write 'protocol={min_max: false}'"),
        ("predict", ["save=[map"], "save=[map: [ is not closed; write 'save=[map]'"),
        ("predict", ["photos"], "photos: not of the form KEY=VALUE; did you mean input=photos?"),
        ("predict", ["input=a", "output=b", "+foo=1"], "foo: unknown key"),
        ("predict", ["input=a", "output=b", "+ouptut=1"], "ouptut: unknown key; did you mean output?"),
        ("predict", ["input=a", "output=b", "overwrite=no"], "overwrite must be true or false, not 'no'"),
        ("predict", ["input=a", "output=b", "precision=f(x"], "write 'precision=\"f(x\"'"),
    ],
    ids=str,
)
def test_refused_overrides_are_explained(
    script: Callable[..., Any], command: str, arguments: list[str], message: str
) -> None:
    error = script(command, *arguments).error
    assert error.startswith("error: ")
    assert message in error


def test_a_single_value_becomes_a_list(script: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert "input=photos: no picture or video" in script("predict", "input=photos", "output=o", "save=cutout").err


TRAIN = {
    "paths": {"data": "data"},
    "data": {"root": "${paths.data}", "image_size": 64, "exclude": [], "size_mismatch": None, "augment": {"crop": 1}},
    "model": {
        "backbone": {"checkpoint": "a.pt", "image_size": "${data.image_size}", "lora": None},
        "detector": {"checkpoint": "b.pt"},
        "gating": None,
    },
    "seed": 0,
}


@pytest.mark.parametrize(
    ("message", "config", "corrected"),
    [
        ("own: set size_mismatch=resize", TRAIN, "own: set data.size_mismatch=resize"),
        ("exclude=[own/a,own/b]", TRAIN, "data.exclude=[own/a,own/b]"),
        ('exclude=["own/img (1)"]', TRAIN, "'data.exclude=[\"own/img (1)\"]'"),
        ('exclude=["own/a,b"]', TRAIN, "'data.exclude=[\"own/a,b\"]'"),
        ("set root=FOLDER", TRAIN, "set paths.data=FOLDER"),
        ("set augment.crop=1 or image_size=32", TRAIN, "set data.augment.crop=1 or data.image_size=32"),
        ("model: gating=None, seed=1", TRAIN, "model: model.gating=null, seed=1"),
        ("model.backbone: checkpoint=None", TRAIN, "model.backbone: model.backbone.checkpoint=null"),
        ("model.detector: checkpoint=...", TRAIN, "model.detector: model.detector.checkpoint=..."),
        ("model.backbone: checkpoint=...", {"base": None}, "model.backbone: base=..."),
        ("set root=FOLDER", {"paths": {"data": None}}, "set paths.data=FOLDER"),
        ("/data/root=3/a: no file; lr=1", TRAIN, "/data/root=3/a: no file; lr=1"),
    ],
)
def test_arguments_in_messages_become_keys(message: str, config: dict[str, object], corrected: str) -> None:
    assert with_keys(message, OmegaConf.create(config)) == corrected
