"""Rows that compare parts of the model run at toy scale, all under the same budget."""

from pathlib import Path

import pytest

from ipsam.engine.runs.configuration import build_model, compose_experiment
from ipsam.tools.paper.changes import changes

CONFIGS = Path(__file__).parents[3] / "configs"
NAMES = ("ablation/baseline", "ablation/spg", "ablation/spg_psg", "ablation/spg_psg_lat", "cod_r32")


@pytest.mark.parametrize("name", NAMES)
def test_toy_scale_keeps_the_parts_of_a_row(name: str) -> None:
    config = compose_experiment(CONFIGS, name, ["+scale=toy"])
    assert config.model.backbone.variant == "micro"
    assert list(config.data.train) == list(config.data.test) == ["synthetic"]
    assert config.paper == []
    model, full_size = build_model(config.model), compose_experiment(CONFIGS, name).model
    for part in ("self_prompt", "gating", "lateral", "refine"):
        assert (getattr(model, part) is None) == (full_size[part] is None)


def test_toy_scale_has_one_budget() -> None:
    budgets = [compose_experiment(CONFIGS, name, ["+scale=toy"]) for name in NAMES]
    assert all((budget.data, budget.engine) == (budgets[0].data, budgets[0].engine) for budget in budgets)


def test_toy_run_is_compared_with_its_experiment_at_toy_scale() -> None:
    config = compose_experiment(CONFIGS, "ablation/spg", ["+scale=toy"])
    config.name = "toy/ablation/spg"
    assert changes(config, CONFIGS) == []
    config.engine.epochs = 3
    [remark] = changes(config, CONFIGS)
    assert "engine.epochs 3 (15)" in remark
    config.name = "huge/ablation/spg"
    assert changes(config, CONFIGS) == ["no such experiment: huge/ablation/spg"]
