"""Gradients reach exactly what trains, and an optimiser moves nothing else."""

from typing import Any

import pytest
import torch
from support.builders import micro_model, randomise

from ipsam.model import IPSAM, LoRA

ROWS: dict[str, dict[str, Any]] = {  # Table 2
    "baseline": {"self_prompt": False, "lateral": False, "refine": False},
    "spg": {"gating": False, "lateral": False, "refine": False},
    "spg_psg": {"lateral": False, "refine": False},
    "spg_psg_lat": {"refine": False},
    "full": {},
}
FINER = tuple(f"backbone.image_encoder.neck.convs.{index}." for index in (2, 3))
ADAPT: dict[str, dict[str, Any]] = {
    "lora": {"lora": LoRA(rank=2)},
    "fine_tune": {"fine_tune": True},
    "frozen": {"fine_tune": False},
}


def backward(model: IPSAM) -> None:
    """Run the backward pass of a loss on each output that the objective supervises."""
    output = model(torch.randn(2, 3, 64, 64))
    outputs = [output.coarse, output.refined, output.fg_logits, output.bg_logits, *output.auxiliary]
    torch.stack([logits.square().mean() for logits in outputs if logits is not None]).sum().backward()


def start_anywhere(model: IPSAM) -> None:
    """Replace zero initialisations, which would hold gradients back."""
    for module in (model.gating, model.refine):
        if module is not None:
            randomise(module)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)


def is_meant_to_train(name: str, row: str, adapt: str) -> bool:
    if name.startswith(FINER) and "lateral" in ROWS[row]:  # left out, so that the finer levels are not computed
        return False
    if adapt == "fine_tune":
        return not name.startswith("backbone.prompt_encoder.")
    return not name.startswith("backbone.") or ".lora_" in name


@pytest.mark.parametrize("adapt", ADAPT)
@pytest.mark.parametrize("row", ROWS)
def test_gradients_reach_exactly_what_trains(row: str, adapt: str) -> None:
    model = micro_model(**ADAPT[adapt], **ROWS[row])
    start_anywhere(model)
    backward(model)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == is_meant_to_train(name, row, adapt), name
        assert (parameter.grad is not None) == parameter.requires_grad, name
        # A bias on the keys shifts all scores of a query alike, and softmax removes it.
        assert parameter.grad is None or name.endswith("k_proj.bias") or parameter.grad.abs().sum() > 0, name


def test_each_prompt_trains_its_own_branch() -> None:
    model = micro_model()
    model(torch.randn(1, 3, 64, 64)).bg_logits.mean().backward()
    assert all(parameter.grad is None for parameter in model.self_prompt.positive.parameters())
    assert model.self_prompt.negative.queries.grad is not None
