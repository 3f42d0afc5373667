"""Gradients reach exactly what trains, and an optimiser moves nothing else."""

from pathlib import Path
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


def is_meant_to_train(name: str, adapt: str) -> bool:
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
        assert parameter.requires_grad == is_meant_to_train(name, adapt), name
        # Without lateral inhibition the finer levels of the feature pyramid are not computed.
        if ".neck.convs." not in name or "lateral" not in ROWS[row]:
            assert (parameter.grad is not None) == parameter.requires_grad, name
        # A bias on the keys shifts all scores of a query alike, and softmax removes it.
        assert parameter.grad is None or name.endswith("k_proj.bias") or parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("adapt", ["lora", "fine_tune"])
def test_optimizer_step_moves_only_what_trains(micro_checkpoint: Path, adapt: str) -> None:
    model = micro_model(checkpoint=micro_checkpoint, **ADAPT[adapt])
    start_anywhere(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    backward(model)
    optimizer.step()
    state = model.state_dict()
    moved = {name for name, tensor in state.items() if not torch.equal(tensor, before[name])}
    assert moved == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for key, tensor in torch.load(micro_checkpoint, weights_only=True)["model"].items():
        if key.startswith("sam_prompt_encoder."):
            assert torch.equal(state[key.replace("sam_prompt_encoder", "backbone.prompt_encoder")], tensor)
        elif key.startswith("image_encoder.") and adapt == "lora":
            wrapped = key.replace(".qkv.", ".qkv.base_layer.").replace("attn.proj.", "attn.proj.base_layer.")
            assert torch.equal(state[f"backbone.{wrapped}"], tensor)


def test_each_prompt_trains_its_own_branch() -> None:
    model = micro_model()
    model(torch.randn(1, 3, 64, 64)).bg_logits.mean().backward()
    assert all(parameter.grad is None for parameter in model.self_prompt.positive.parameters())
    assert model.self_prompt.negative.queries.grad is not None
