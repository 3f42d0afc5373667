"""The published JSON schema of metrics.json, which other tests check on real files."""

import json
from pathlib import Path
from typing import Any

import fastjsonschema
import numpy as np
import pytest
from support.saved_maps import follows_schema, read_metrics

from ipsam.engine.evaluate.scoring import score_set
from ipsam.engine.metrics import FURTHER, Protocol


@pytest.fixture
def content(tmp_path: Path) -> Any:
    mask = np.eye(9, 7, dtype=np.uint8) * np.uint8(255)
    protocol = Protocol.of({"size": 32}, ["biou_50", "si_f"])
    evaluation = score_set("set", [lambda: ("image", mask, mask)], 1, protocol=protocol, num_workers=0)
    evaluation.write(tmp_path)
    return read_metrics(tmp_path / "metrics.json")


def test_metrics_of_choice_are_allowed(content: Any) -> None:
    assert set(content["datasets"]["set"]) & set(FURTHER) == {"biou_50", "si_f"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datasets": {"set": {"num_images": 1}}}, "data.datasets.set must contain"),
        ({"scores": {}}, "must not contain .*scores"),
        ({"epochs": -1}, "data.epochs must be bigger"),
        ({"protocol": {"name": "default"}}, "data.protocol must contain"),
        ({"left_out": {"set": ["a"]}}, "data.left_out"),
        ({"methods": {"One": {"set": {"mae": "low"}}}}, "data.methods.One.set must contain"),
    ],
)
def test_other_content_is_refused(content: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(fastjsonschema.JsonSchemaException, match=message):
        follows_schema()(json.loads(json.dumps(content | change)))
