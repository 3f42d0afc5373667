"""Optimiser steps that are skipped, and groups of parameters."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from support.builders import micro_model
from support.defaults import settings_with
from support.training import same
from torch import nn

from ipsam.engine.train.optimizer import SkippableAdamW, fitting_state, parameter_groups
from ipsam.model import LoRA

SPARED = ("token.weight", "tokens.weight", "queries", "pos_embed", "pos_embed_window")


def step(network: nn.Module, optimizer: SkippableAdamW, seed: int, *, bad: bool = False) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        gradient = torch.randn(parameter.shape, generator=generator) / (0 if bad else 1)
        parameter.grad = torch.empty_like(parameter).copy_(gradient)
    optimizer.step_unless(torch.tensor(float(bad)), lr=1e-2)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_bad_step_changes_nothing(fused: bool, first: bool) -> None:
    """Neither weights nor moments nor the count of steps, so that the next step is not affected."""
    network = nn.Sequential(nn.Linear(10, 20), nn.GELU(), nn.Linear(20, 2))
    other = deepcopy(network)
    pairs = [
        (each, SkippableAdamW(list(each.parameters()), lr=1e-2, weight_decay=0.1, fused=fused))
        for each in (network, other)
    ]
    if not first:
        for pair in pairs:
            step(*pair, seed=1)
    before = deepcopy(network.state_dict())
    step(*pairs[0], seed=2, bad=True)
    assert same(network.state_dict(), before)
    assert all(parameter.grad is None for parameter in network.parameters())
    for pair in pairs:
        step(*pair, seed=3)
    assert same(network.state_dict(), other.state_dict())
    assert not same(network.state_dict(), before)


def named_groups(model: nn.Module, **settings: Any) -> list[tuple[float, float, list[str]]]:
    """List learning-rate factor, weight decay and names of each group."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = parameter_groups(model, settings_with(weight_decay=0.3, **settings))
    return [(group["lr_scale"], group["weight_decay"], [names[one] for one in group["params"]]) for group in groups]


def test_default_is_one_group_in_the_models_order() -> None:
    model = micro_model(lora=LoRA(rank=2))
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert named_groups(model) == [(1.0, 0.3, trainable)]


def test_first_match_decides_the_group() -> None:
    model = micro_model(lora=LoRA(rank=2))
    groups = [{"match": r"^decoder\..*\.bias$", "weight_decay": 0.0}, {"match": r"^decoder\.", "lr_scale": 10.0}]
    found = {(scale, decay): names for scale, decay, names in named_groups(model, groups=groups)}
    biases, decoder, rest = found[1.0, 0.0], found[10.0, 0.3], found[1.0, 0.3]
    assert len(found) == 3
    assert all(name.startswith("decoder.") and name.endswith(".bias") for name in biases)
    assert all(name.startswith("decoder.") and not name.endswith(".bias") for name in decoder)
    assert not any(name.startswith("decoder.") for name in rest)
    [(_, _, trainable)] = named_groups(model)
    assert sorted([*biases, *decoder, *rest]) == sorted(trainable)


def test_group_without_a_parameter_is_named() -> None:
    groups = [{"match": "decoder"}, {"match": r"decoder\.iou_token"}]
    message = r"engine\.groups\[1\]: match='decoder.*iou_token' finds no trainable parameter .* there are .* more$"
    with pytest.raises(ValueError, match=message):
        named_groups(micro_model(), groups=groups)
    with pytest.raises(ValueError, match=r"groups\[0\]: match='prompt_encoder'"):  # frozen
        named_groups(micro_model(), groups=[{"match": "prompt_encoder"}])


def test_biases_norms_and_embeddings_are_spared_from_decay() -> None:
    model = micro_model()
    groups = [{"match": "^decoder", "weight_decay": 0.2}]
    found = named_groups(model, decay_all=False, groups=groups)
    assert sorted(decay for _, decay, _ in found) == [0.0, 0.0, 0.2, 0.3]
    spared = {name for _, decay, names in found for name in names if decay == 0}
    shapes = {name: parameter.ndim for name, parameter in model.named_parameters() if parameter.requires_grad}
    trunk = "backbone.image_encoder.trunk"
    assert spared == {name for name, ndim in shapes.items() if ndim == 1} | {
        *("decoder.iou_token.weight", "self_prompt.positive.queries", "self_prompt.negative.queries"),
        *(f"{trunk}.pos_embed", f"{trunk}.pos_embed_window"),
    }


@pytest.mark.parametrize("fused", [True, False])
def test_groups_scale_the_learning_rate_and_skip_together(fused: bool) -> None:
    """The first AdamW step moves each weight by its learning rate."""
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    settings = settings_with(groups=[{"match": r"^1\.", "lr_scale": 0.1}], weight_decay=0.0)
    optimizer = SkippableAdamW(parameter_groups(network, settings), lr=1.0, weight_decay=0.0, fused=fused)
    before = deepcopy(network.state_dict())
    step(network, optimizer, seed=1, bad=True)
    assert same(network.state_dict(), before)
    step(network, optimizer, seed=1)
    moves = {name: (tensor - before[name]).abs() for name, tensor in network.state_dict().items()}
    for name, move in moves.items():
        torch.testing.assert_close(move, torch.full_like(move, 1e-3 if name.startswith("1.") else 1e-2))


def test_state_saved_before_there_were_groups_fits() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    former = SkippableAdamW(list(network.parameters()), lr=1e-2, weight_decay=0.1)
    step(network, former, seed=1)
    saved = former.adamw.state_dict()
    assert "lr_scale" not in saved["param_groups"][0]
    now = SkippableAdamW(parameter_groups(network, settings_with()), lr=1e-2, weight_decay=0.1)
    now.adamw.load_state_dict(fitting_state(saved, now.adamw))
    assert same(now.adamw.state_dict()["state"], saved["state"])
    assert [group["lr_scale"] for group in now.adamw.param_groups] == [1.0]


def test_moments_follow_the_parameters_memory_format() -> None:
    """A fused step would pair numbers by their place in memory, such as those of a run begun on another device."""
    states = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        network = nn.Conv2d(3, 4, 2)
        network.load_state_dict({"weight": torch.arange(48.0).view(4, 3, 2, 2) / 48, "bias": torch.zeros(4)})
        optimizer = SkippableAdamW(list(network.parameters()), lr=1e-2, weight_decay=0.1)
        step(network, optimizer, seed=1)
        saved = deepcopy(optimizer.adamw.state_dict())
        network.to(memory_format=memory_format)
        optimizer.adamw.load_state_dict(fitting_state(saved, optimizer.adamw))
        step(network, optimizer, seed=2)
        states.append(network.state_dict())
    assert same(*states)
