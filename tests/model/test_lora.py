"""LoRA: adapted layers, start as the identity, merging, and the update by addmm."""

import sys
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from support.builders import micro_backbone, randomise
from torch import nn

from ipsam.model import LoRA
from ipsam.model.lora import add_lora_by_addmm, merge_lora


@pytest.fixture(scope="module")
def trunk() -> nn.Module:
    return micro_backbone().image_encoder.trunk


def adapted(trunk: nn.Module) -> list[str]:
    """Names of the layers that peft wrapped."""
    return [name for name, module in trunk.named_modules() if hasattr(module, "lora_A")]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        *(({"stages": (stage,)}, blocks) for stage, blocks in {1: [0], 2: [1], 3: [2, 3], 4: [4]}.items()),
        ({"stages": (1, 2)}, [0, 1]),
        ({"block_stride": 2}, [0, 2, 4]),  # sparse 50 %: the even blocks
        ({"block_stride": 2, "stages": (3, 4)}, [2, 4]),
        *(({"projections": [projection]}, [0, 1, 2, 3, 4]) for projection in ("qkv", "proj")),
    ],
    ids=str,
)
def test_choice_selects_blocks_and_projections(trunk: nn.Module, choice: dict, expected: list[int]) -> None:
    names = LoRA(**choice).target_modules(trunk)
    projections = choice.get("projections", ("qkv", "proj"))
    assert names == [f"blocks.{block}.attn.{projection}" for block in expected for projection in projections]


@pytest.mark.parametrize(
    "lora",
    [LoRA(rank=4), LoRA(rank=2, stages=(3,)), LoRA(rank=2, block_stride=2), LoRA(rank=1, projections=("qkv",))],
    ids=["all", "stage3", "sparse", "qkv"],
)
def test_injection_wraps_exactly_the_chosen_layers_and_starts_as_the_identity(lora: LoRA) -> None:
    backbone = micro_backbone().eval()
    image = torch.randn(1, 3, 64, 64)
    before = backbone(image)
    trunk = backbone.image_encoder.trunk
    expected = lora.target_modules(trunk)
    lora.inject(trunk)
    assert sorted(adapted(trunk)) == sorted(expected)
    assert all(torch.equal(*levels) for levels in zip(before, backbone(image), strict=True))
    trainable = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trainable == {f"image_encoder.trunk.{name}.lora_{side}.default.weight" for name in expected for side in "AB"}
    for name in expected:
        assert trunk.get_submodule(name).lora_A["default"].out_features == lora.rank


@pytest.mark.parametrize(("alpha", "scale"), [(None, 1.0), (8.0, 2.0), (2.0, 0.5)])
def test_update_is_scaled_by_alpha_over_rank(alpha: float | None, scale: float) -> None:
    backbone = micro_backbone(lora=LoRA(rank=4, alpha=alpha, dropout=0.25))
    layer = backbone.image_encoder.trunk.blocks[3].attn.proj
    assert layer.scaling["default"] == scale
    assert layer.lora_dropout["default"].p == 0.25


def features_and_gradients(backbone: nn.Module, image: torch.Tensor, *, bf16: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)  # for dropout
    backbone.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        levels = backbone(image)
    sum(level.float().square().mean() for level in levels).backward()
    gradients = {name: value.grad for name, value in backbone.named_parameters() if value.grad is not None}
    return {f"level {index}": level.detach() for index, level in enumerate(levels)} | gradients


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("alpha", "dropout"), [(None, 0.0), (10.0, 0.0), (2.0, 0.5)])
def test_updates_by_addmm_equal_pefts_up_to_rounding(alpha: float | None, dropout: float, bf16: bool) -> None:
    """The features and every gradient."""
    backbone = micro_backbone(lora=LoRA(rank=4, alpha=alpha, dropout=dropout)).train()
    for name in adapted(backbone):
        randomise(backbone.get_submodule(name).lora_B)
    by_addmm = deepcopy(backbone)
    add_lora_by_addmm(by_addmm)
    image = torch.randn(2, 3, 64, 64)
    exact = features_and_gradients(backbone, image, bf16=False)
    plain = features_and_gradients(backbone, image, bf16=bf16)
    same = features_and_gradients(by_addmm, image, bf16=bf16)
    assert plain.keys() == same.keys()
    assert sum(".lora_" in name for name in plain) == 20  # A and B of two layers of five blocks
    shares = []  # of peft's error
    for name, true in exact.items():
        assert same[name].dtype == plain[name].dtype
        error, others = (float((result[name] - true).norm() / true.norm()) for result in (same, plain))
        assert error < (2 * others if bf16 else 1e-5), name  # in bf16 both round, each in its own way
        shares.append(error / max(others, 1e-12))
    if bf16:
        assert sum(shares) / len(shares) < 1.2


@pytest.mark.parametrize(
    "change",
    [
        lambda backbone: [backbone.get_submodule(name).enable_adapters(False) for name in adapted(backbone)],
        lambda backbone: [backbone.get_submodule(name).merge() for name in adapted(backbone)],
        merge_lora,
    ],
    ids=["off", "merged by peft", "merged"],
)
def test_addmm_adds_nothing_to_merged_or_disabled_layers(change: Callable[[nn.Module], object]) -> None:
    backbone = micro_backbone(lora=LoRA(rank=4)).eval()
    for name in adapted(backbone):
        randomise(backbone.get_submodule(name).lora_B)
    by_addmm = deepcopy(backbone)
    add_lora_by_addmm(by_addmm)
    change(backbone)
    change(by_addmm)
    image = torch.randn(2, 3, 64, 64)
    assert all(torch.equal(*pair) for pair in zip(backbone(image), by_addmm(image), strict=True))


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("2.5.1+cpu", r"peft can't be imported beside torch 2\.5\.1\+cpu .*; pip install 'transformers<5\.19'"),
        ("2.14.1", "^import of peft halted"),  # unchanged
    ],
)
def test_transformers_too_new_for_torch_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, version: str, message: str
) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=message):
        LoRA(rank=4).inject(micro_backbone().image_encoder.trunk)
