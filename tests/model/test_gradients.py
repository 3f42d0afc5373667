"""Gradients reach exactly what trains, and an optimiser moves nothing else."""

from pathlib import Path

import pytest
import torch
from support.builders import micro_model, randomise
from torch import Tensor

from ipsam.model import IPSAM, IPSAMOutput, LoRA


def everything(output: IPSAMOutput) -> Tensor:
    """A loss of each output that the objective supervises."""
    outputs = [output.coarse, output.refined, output.fg_logits, output.bg_logits, *output.auxiliary]
    return torch.stack([logits.square().mean() for logits in outputs if logits is not None]).sum()


def backward(model: IPSAM) -> None:
    everything(model(torch.randn(2, 3, 64, 64))).backward()


def trainable(model: IPSAM) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def reached(model: IPSAM) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


def start_anywhere(model: IPSAM) -> None:
    """Leave no zero initialisation that would hold a gradient back."""
    for module in (model.gating, model.refine):
        if module is not None:
            randomise(module)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)


def no_effect(name: str) -> bool:
    """A bias on the keys shifts all scores of a query alike, which softmax takes out again."""
    return name.endswith("k_proj.bias")


ROWS = {
    "baseline": {"self_prompt": False, "lateral": False, "refine": False},
    "spg": {"gating": False, "lateral": False, "refine": False},
    "spg_psg": {"lateral": False, "refine": False},
    "spg_psg_lat": {"refine": False},
    "full": {},
}


@pytest.mark.parametrize("row", ROWS)
def test_lora_on_a_checkpoint(micro_checkpoint: Path, row: str) -> None:
    model = micro_model(checkpoint=micro_checkpoint, lora=LoRA(rank=2), **ROWS[row])
    expected = {name for name, _ in model.named_parameters() if not name.startswith("backbone.") or ".lora_" in name}
    assert trainable(model) == expected
    backward(model)
    assert reached(model) == expected


def test_fine_tuning() -> None:
    model = micro_model(fine_tune=True)
    expected = {name for name, _ in model.named_parameters() if not name.startswith("backbone.prompt_encoder.")}
    assert trainable(model) == expected
    backward(model)
    assert reached(model) == expected


def test_frozen_image_encoder() -> None:
    model = micro_model(fine_tune=False)
    expected = {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}
    assert trainable(model) == expected
    backward(model)
    assert reached(model) == expected


@pytest.mark.parametrize("adapt", ["lora", "fine_tune"])
@pytest.mark.parametrize("row", ROWS)
def test_every_gradient_says_something(row: str, adapt: str) -> None:
    model = micro_model(lora=LoRA(rank=2) if adapt == "lora" else None, **ROWS[row])
    start_anywhere(model)
    backward(model)
    silent = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not parameter.grad.abs().sum() > 0 and not no_effect(name)
    ]
    assert not silent


@pytest.mark.parametrize("adapt", ["lora", "fine_tune"])
def test_a_step_on_everything_moves_what_trains_and_nothing_else(micro_checkpoint: Path, adapt: str) -> None:
    model = micro_model(checkpoint=micro_checkpoint, lora=LoRA(rank=2) if adapt == "lora" else None)
    start_anywhere(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    backward(model)
    optimizer.step()
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == trainable(model)

    stored = torch.load(micro_checkpoint, weights_only=True)["model"]
    state = model.state_dict()
    for key, tensor in stored.items():
        if key.startswith("sam_prompt_encoder."):
            assert torch.equal(state[key.replace("sam_prompt_encoder", "backbone.prompt_encoder")], tensor)
        elif key.startswith("image_encoder.") and adapt == "lora":
            adapted = f"backbone.{key}".replace(".qkv.", ".qkv.base_layer.").replace(
                "attn.proj.", "attn.proj.base_layer."
            )
            assert torch.equal(state[adapted], tensor)


def test_foreground_and_background_prompts_get_their_own_gradients() -> None:
    """P+ is learned by its own branch alone, P- by the other."""
    model = micro_model()
    model(torch.randn(1, 3, 64, 64)).bg_logits.mean().backward()
    assert all(parameter.grad is None for parameter in model.self_prompt.positive.parameters())
    assert model.self_prompt.negative.queries.grad is not None
