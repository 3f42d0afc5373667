"""The experiments of Table 3, and section 3.2's two forms of dense prompt: each trains what it should and evaluates."""

from pathlib import Path
from typing import Any

import pytest
import torch
from builders import save_official_format
from experiments import CONFIGS, FILES, rows_of, tiny
from training import fit

from ipsam.data import TestSet, TrainSet
from ipsam.engine.checkpoint import load_weights, own_weights, save_checkpoint
from ipsam.engine.config import build_model, compose_experiment
from ipsam.engine.evaluator import evaluate
from ipsam.engine.losses import LossWeights, ipsam_loss
from ipsam.model import IPSAM, SAM2Backbone

SECTION_3_2 = ["ablation/prompt_binarised", "ablation/prompt_scaled"]
TABLE_3 = [name for name in FILES if any(row.table == 3 for row in rows_of(name))]
LORA = [name for name in TABLE_3 if name.startswith("ablation/lora_")]
PROMPT_ENCODER = (
    "backbone.prompt_encoder.mask_downscaling.",
    "backbone.prompt_encoder.point_embeddings.0.",
    "backbone.prompt_encoder.point_embeddings.1.",
)


def intended(name: str, model: IPSAM) -> set[str]:
    """The parameters that an experiment is to train: LoRA and all of the modules that are not SAM2's."""
    more = PROMPT_ENCODER if name == "ablation/trainable_prompt_encoder" else ()
    return {
        key
        for key, _ in model.named_parameters()
        if not key.startswith("backbone.") or ".lora_" in key or key.startswith(more)
    }


def backward(model: IPSAM) -> None:
    output = model.train()(torch.randn(2, 3, 64, 64))
    ipsam_loss(output, torch.randint(2, (2, 1, 64, 64)).float(), LossWeights())["total"].backward()


def no_effect(name: str) -> bool:
    """A bias on the keys shifts all scores of a query alike, which softmax takes out again."""
    return name.endswith("k_proj.bias")


@pytest.mark.parametrize("name", [*TABLE_3, *SECTION_3_2])
def test_two_steps_move_what_should_train_and_nothing_else(
    name: str, train_set: TrainSet, test_set: TestSet, make_settings: Any, tmp_path: Path
) -> None:
    model = build_model(tiny(name).model)
    expected = intended(name, model)
    assert {key for key, parameter in model.named_parameters() if parameter.requires_grad} == expected
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    fit(model, train_set, tmp_path, make_settings(weight_decay=0.1))  # two steps, after which no zero start is left
    moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert {key for key in moved ^ expected if not no_effect(key)} == set()

    model.zero_grad()
    backward(model)
    gradients = {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}
    assert gradients.keys() == expected
    assert not [key for key, gradient in gradients.items() if not gradient.abs().sum() > 0 and not no_effect(key)]

    scores = evaluate(model, {"synthetic": test_set}, device=torch.device("cpu"), batch_size=3).datasets["synthetic"]
    assert scores["num_images"] == 3
    assert 0 <= scores["mae"] <= 1


@pytest.mark.parametrize("name", [name for name in [*TABLE_3, *SECTION_3_2] if name not in LORA])
def test_narrow_at_toy_scale(name: str) -> None:
    """The micro model's widths reach the parts that an experiment puts in another's place."""
    model = build_model(compose_experiment(CONFIGS, name, ["+scale=toy", "data.image_size=64"]).model)
    assert model(torch.randn(1, 3, 64, 64)).logits.shape == (1, 1, 16, 16)
    if name.startswith("ablation/minimal_spg"):
        assert model.self_prompt.positive[0][0].out_channels == 16
    if name == "ablation/psg_purified_anchor":
        assert model.gating.predictor[0].out_channels == 16
    if name == "ablation/psg_cross_attention":
        assert model.gating.num_heads == 4


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", LORA)
def test_where_lora_goes_cannot_be_asked_of_the_micro_model(name: str) -> None:
    with pytest.raises(ValueError, match=r"fine_tune trains every weight .* set model\.backbone\.lora=null"):
        build_model(compose_experiment(CONFIGS, name, ["+scale=toy"]).model)


def test_a_trained_prompt_encoder_is_in_its_checkpoint(tmp_path: Path) -> None:
    base = save_official_format(tmp_path / "random_micro.pt", SAM2Backbone("micro", image_size=64))
    config = tiny("ablation/trainable_prompt_encoder").model
    config.backbone.checkpoint = str(base)
    trained, fresh = build_model(config), build_model(config)
    assert {key for key in own_weights(trained) if "prompt_encoder" in key} == {
        key for key in trained.state_dict() if key.startswith(PROMPT_ENCODER)
    }
    with torch.no_grad():
        for key, parameter in trained.named_parameters():
            if key.startswith(PROMPT_ENCODER):
                parameter += 1
    save_checkpoint(tmp_path / "last", trained, config="model: {}\n", training={})
    load_weights(fresh, tmp_path / "last")
    found = fresh.state_dict()
    assert all(torch.equal(found[key], tensor) for key, tensor in trained.state_dict().items())

    config.backbone.train_prompt_encoder = False
    with pytest.raises(ValueError, match=r"does not fit the model.*\n.* unexpected: backbone\.prompt_encoder"):
        load_weights(build_model(config), tmp_path / "last")
