"""The configuration's defaults are those of the classes that read them: written down twice, so checked here."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ipsam.data.data import Data, Synthetic
from ipsam.data.transforms import Augment
from ipsam.engine.runs.settings import LossWeights, Settings

CONFIGS = Path(__file__).parents[3] / "configs"
NESTED = {"loss", "augment", "synthetic"}  # settings of their own, with rows of their own below
GIVEN_BY_THE_FILE = {"image_size", "root"}  # no default in the class


@pytest.mark.parametrize(
    ("file", "section", "cls"),
    [
        ("engine/default", None, Settings),
        ("engine/default", "loss", LossWeights),
        ("data/base", None, Data),
        ("data/base", "augment", Augment),
        ("data/base", "synthetic", Synthetic),
    ],
)
def test_yaml_and_class_agree(file: str, section: str | None, cls: Any) -> None:
    config: Any = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{file}.yaml"))
    values = config if section is None else config[section]
    defaults = {entry.name: entry.default for entry in fields(cls)}
    assert values.keys() == defaults.keys()
    for name, default in defaults.items():
        if name in NESTED | GIVEN_BY_THE_FILE:
            assert default is MISSING
        else:
            assert values[name] == (list(default) if isinstance(default, tuple) else default), name
