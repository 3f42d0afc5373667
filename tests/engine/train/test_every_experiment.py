"""Every experiment trains the intended parameters for two steps at micro size, and is evaluated."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from support.builders import randomise, save_official_format
from support.defaults import loss_weights_with
from support.experiments import CONFIGS, FILES, OPTIONS, composed, rows_of, tiny
from support.quick import every, only
from support.training import same

from ipsam.data import TestSet
from ipsam.engine.evaluate.evaluator import evaluate
from ipsam.engine.runs.checkpoint import load_weights, own_weights, save_checkpoint
from ipsam.engine.runs.configuration import build_model, compose_experiment
from ipsam.engine.train.losses import ipsam_loss
from ipsam.engine.train.memory import step_memory
from ipsam.model import SAM2Backbone, Segmenter, TimmBackbone
from ipsam.model.activation_checkpointing import encoder_blocks, recompute_blocks
from ipsam.model.baselines import MDSAM, SAM
from ipsam.model.inference import prepare_for_inference
from ipsam.tools.tables.changes import changes, settings_of_run

# Quick tests take one experiment of each kind.
QUICK = {"cod_r32", "lite", "cod_sam3_r32", "ablation/trainable_prompt_encoder", "baseline/sam2_oracle", "kvasir/mdsam"}
EACH = only(QUICK, FILES)
TABLE_3 = [name for name in FILES if any(row.table == 3 for row in rows_of(name)) and name != "cod_r32"]
COMPARED = ("baseline/", "kvasir/")
LORA = [name for name in TABLE_3 if name.startswith("ablation/lora_")]
PROMPT_ENCODER = tuple(
    f"backbone.prompt_encoder.{part}." for part in ("mask_downscaling", "point_embeddings.0", "point_embeddings.1")
)

# Parameters that each comparison system trains, by the beginning of their names; none if it is only evaluated.
SAM_ADAPTER = tuple(f"backbone.model.vision_encoder.{part}." for part in ("of_patches", "of_frequencies", "tune", "up"))
SAM2_ADAPTER = tuple(f"backbone.model.image_encoder.trunk.{part}." for part in ("stages", "frequencies"))
TRAINED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("sam", "sam_oracle", "sam2", "sam2_oracle", "sam2_amg", "yolov8_sam2"), ()),
    "sam_adapter": (*SAM_ADAPTER, "backbone.model.mask_decoder."),
    "medsam": ("backbone.model.vision_encoder.", "backbone.model.mask_decoder."),
    "mdsam": ("adapters.", "necks.", "decoder.", "fusion.", "deep.", "detail."),
    "sam2_adapter": (*SAM2_ADAPTER, "backbone.model.sam_mask_decoder."),
    "sam2_r80": ("backbone.model.sam_mask_decoder.",),  # and LoRA
}
# Its static filter does not see what the transformer last does with the tokens.
LAST = ("final_attn_token_to_image", "layer_norm_final_attn")
FROZEN = {"mdsam_native": tuple(f"decoder.transformer.{part}." for part in LAST)}
# Trainable in the comparison systems' own code, but a loss on one mask does not reach them.
HYPERNETWORKS = tuple(f".output_hypernetworks_mlps.{i}." for i in (1, 2, 3))
OUT_OF_REACH = (".iou_prediction_head.", ".pred_obj_score_head.", *HYPERNETWORKS)
# Trainable, but without a gradient, as T is withheld, or with one of zero, as other masks are ignored.
FIRST_MASK = "cod_r32 model.mask_reduction=first"
WITHHELD: dict[str, tuple[str, ...]] = {
    "ablation/default_mask_tokens": ("self_prompt.positive.mask_token_proj.",),
    FIRST_MASK: tuple(f"decoder{part}" for part in HYPERNETWORKS),
}


def intended(name: str, model: Segmenter) -> set[str]:
    """Return the parameters that an experiment should train."""
    short = name.partition("/")[2]
    keys = {key for key, _ in model.named_parameters()}
    lora = {key for key in keys if ".lora_" in key}
    if name.startswith(COMPARED):
        trained = {key for key in keys if key.startswith(TRAINED[short.removesuffix("_native")])}
        return lora | {key for key in trained if not key.startswith(FROZEN.get(short, ()))}
    begins: tuple[str, ...] = ()
    if name == "ablation/trainable_prompt_encoder":
        begins = PROMPT_ENCODER
    if composed(name).model.backbone.get("fine_tune"):
        begins = ("backbone.image_encoder.",)
    if isinstance(model.backbone, TimmBackbone):
        begins = ("backbone.trunk.", "backbone.neck.")
    return lora | {key for key in keys if not key.startswith("backbone.") or key.startswith(begins)}


def within_reach(name: str, keys: set[str]) -> set[str]:
    """Return the parameters of an experiment that the loss reaches."""
    if name.startswith(COMPARED):
        return {key for key in keys if "mask_decoder." not in key or not any(part in key for part in OUT_OF_REACH)}
    return {key for key in keys if name not in WITHHELD or not key.startswith(WITHHELD[name])}


def backward(model: Segmenter) -> None:
    output = model.train()(torch.randn(2, 3, 64, 64))
    ipsam_loss(output, torch.randint(2, (2, 1, 64, 64)).float(), loss_weights_with())["total"].backward()


def effective(keys: set[str]) -> set[str]:
    """Leave out biases on the keys: each shifts all scores of a query alike, which softmax removes."""
    return {key for key in keys if not key.endswith("k_proj.bias")}


def check_gradients(name: str, model: Segmenter) -> None:
    """The loss reaches all trainable parameters that it should, and the model says if others get no gradient."""
    backward(model)
    trainable = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    gradients = {key: parameter.grad for key, parameter in trainable.items() if parameter.grad is not None}
    arrived = {key for key, gradient in gradients.items() if gradient.abs().sum() > 0}
    assert effective(arrived ^ within_reach(name, set(trainable))) == set()
    assert model.uses_all_parameters == (gradients.keys() == trainable.keys())


@torch.no_grad()
def tell_tokens_apart(model: Segmenter) -> None:
    """Enlarge the weights of SAM's decoder: fresh ones treat all tokens nearly alike at this size.

    Some gradients are then about 1e-17; next to Adam's eps of 1e-8, rounding decides whether such a weight moves.
    """
    for name, parameter in model.named_parameters():
        if ".mask_decoder." in name and parameter.ndim > 1:
            is_token = name.endswith(("iou_token.weight", "mask_tokens.weight"))
            parameter.copy_(torch.randn_like(parameter) if is_token else 6 * parameter)


@pytest.mark.parametrize("name", EACH)
def test_two_steps_change_only_the_intended_parameters(name: str, train: Any, test_set: TestSet) -> None:
    model = build_model(tiny(name).model)
    trainable = intended(name, model)
    assert {key for key, parameter in model.named_parameters() if parameter.requires_grad} == trainable
    expected = within_reach(name, trainable)
    tell_tokens_apart(model)
    before = {key: parameter.clone() for key, parameter in model.named_parameters()}
    train(model=model, weight_decay=0.0)  # two steps, after which nothing is zero as it started
    moved = {key for key, parameter in model.named_parameters() if not torch.equal(parameter, before[key])}
    assert effective(moved ^ expected) == set()

    if expected:
        model.zero_grad()
        check_gradients(name, model)

    scores = evaluate(model, {"synthetic": test_set}, device=torch.device("cpu"), batch_size=3).datasets["synthetic"]
    assert scores["num_images"] == 3
    assert 0 <= scores["mae"] <= 1


OWN = [name for name in FILES if not name.startswith(COMPARED) and not name.endswith(("lite", "sam3_r32"))]
OWN += [f"cod_r32 {option}" for option in OPTIONS]
LEFT_OUT = (None, "lateral", "refine", "gating", "self_prompt")
# Every pair of an experiment with what is left out, and of either with how the backbone is adapted.
PAIRS = [
    (name, ("lora", "fine_tune")[(row + column) % 2], part)
    for row, name in enumerate(OWN)
    for column, part in enumerate(LEFT_OUT)
]
VARIED = {
    ("ablation/spg", "fine_tune", None),
    ("ablation/spg", "fine_tune", "self_prompt"),
    ("ablation/default_mask_tokens", "lora", None),
    (FIRST_MASK, "lora", "gating"),
    ("cod_r32 model.decoder.high_res_features=true", "fine_tune", "lateral"),
}


@pytest.mark.parametrize(("name", "adapt", "part"), only(VARIED, sorted({*PAIRS, *VARIED}, key=str)))
def test_every_trainable_parameter_gets_a_gradient(name: str, adapt: str, part: str | None) -> None:
    """Whatever is left out. Else the model says so: training on several processes depends on it."""
    config = tiny(*name.split()).model
    OmegaConf.resolve(config)  # some widths refer to another part
    lora = config.backbone.lora or {"_target_": "ipsam.model.LoRA", "rank": 2}
    config.backbone.update({"lora": lora, "fine_tune": False} if adapt == "lora" else {"lora": None, "fine_tune": True})
    if part == "refine":
        config.detach_coarse = False
    if part == "self_prompt":
        config.update({"gating": None, "dense_prompt": None, "feature_addition": None, "prediction": "decoder"})
        config.decoder.own_mask_tokens, config.backbone.train_prompt_encoder = True, False
    if part is not None:
        config[part] = None
    model = build_model(config)
    for module in (model.gating, model.refine, model.feature_addition):
        if module is not None:
            randomise(module)  # what starts at zero holds gradients back
    for key, parameter in model.named_parameters():
        if ".lora_B." in key:
            torch.nn.init.normal_(parameter, std=0.1)
    check_gradients(name, model)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FILES if TRAINED.get(name.removeprefix("baseline/"))])
def test_comparison_systems_say_if_the_loss_reaches_all(name: str) -> None:
    """Also with a part of the backbone left out, or trained besides, unless that is refused."""
    refusals: list[str] = []
    for part in sorted({"lora", "adapter", "train_encoder", "train_decoder"} & set(tiny(name).model.backbone)):
        config = tiny(name).model
        config.backbone[part] = not config.backbone[part] if part.startswith("train_") else None
        try:
            model = build_model(config)
        except ValueError as error:
            refusals.append(str(error))
            continue
        if trainable := [parameter for parameter in model.parameters() if parameter.requires_grad]:
            backward(model)
            assert not model.uses_all_parameters or all(parameter.grad is not None for parameter in trainable)
    assert all(re.search(r"set \w+=", refusal) for refusal in refusals)


def test_every_comparison_system_has_an_experiment() -> None:
    systems = {name.partition("/")[2] for name in FILES if name.startswith("baseline/")}
    assert {name for name in systems if not name.endswith("_native")} == TRAINED.keys()
    trainable = {name for name, parts in TRAINED.items() if parts}
    assert {name.partition("/")[2] for name in FILES if name.startswith("kvasir/")} == trainable


def test_mdsams_pretrained_parts_have_a_learning_rate_of_their_own() -> None:
    sam = SAM("micro", image_size=64)
    for parameter in sam.parameters():
        torch.nn.init.constant_(parameter, 0.123)
    trainable = {name: value for name, value in MDSAM(sam).named_parameters() if value.requires_grad}
    pretrained = {name for name, value in trainable.items() if (value == 0.123).all()}
    [group] = composed("baseline/mdsam_native").engine.groups
    assert pretrained == {name for name in trainable if re.search(group.match, name)} != set()


@pytest.mark.parametrize("name", every(3, [name for name in FILES if "ablation/" in name and name not in LORA]))
def test_toy_scale_narrows_every_part(name: str) -> None:
    """The micro model's widths also reach the parts that an experiment replaces."""
    model = build_model(compose_experiment(CONFIGS, name, ["+scale=toy", "data.image_size=64"]).model)
    assert model(torch.randn(1, 3, 64, 64)).logits.shape == (1, 1, 16, 16)
    if name.startswith("ablation/minimal_spg"):
        assert model.self_prompt.positive[0][0].out_channels == 16
    if name == "ablation/psg_purified_anchor":
        assert model.gating.predictor[0].out_channels == 16
    if name == "ablation/psg_cross_attention":
        assert model.gating.num_heads == 4


def test_toy_scale_has_one_budget_and_its_runs_are_compared_with_it() -> None:
    names = ("ablation/baseline", "ablation/spg_psg_lat", "cod_r32", "ablation/spg")
    *others, config = [compose_experiment(CONFIGS, name, ["+scale=toy"]) for name in names]
    assert all((other.data, other.engine) == (config.data, config.engine) for other in others)
    assert config.paper == []
    config.name = "toy/ablation/spg"
    assert changes(config, settings_of_run(config), CONFIGS) == []
    config.engine.epochs = 3
    [remark] = changes(config, settings_of_run(config), CONFIGS)
    assert "engine.epochs 3 (15)" in remark


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", LORA)
def test_lora_ablations_are_refused_at_toy_scale(name: str) -> None:
    with pytest.raises(ValueError, match=r"model\.backbone\.lora must be LoRA or null, not \{.*\} without a _target_"):
        build_model(compose_experiment(CONFIGS, name, ["+scale=toy"]).model)


def test_checkpoint_holds_a_trained_prompt_encoder(tmp_path: Path) -> None:
    base = save_official_format(tmp_path / "random_micro.pt", SAM2Backbone("micro", image_size=64))
    config = tiny("ablation/trainable_prompt_encoder").model
    config.backbone.checkpoint = str(base)
    trained, fresh = build_model(config), build_model(config)
    saved = {key for key in own_weights(trained) if "prompt_encoder" in key}
    assert saved == {key for key in trained.state_dict() if key.startswith(PROMPT_ENCODER)}
    with torch.no_grad():
        for key, parameter in trained.named_parameters():
            if key.startswith(PROMPT_ENCODER):
                parameter += 1
    save_checkpoint(tmp_path / "last", trained, config="model: {}\n", training={})
    load_weights(fresh, tmp_path / "last")
    assert same(fresh.state_dict(), trained.state_dict())

    config.backbone.train_prompt_encoder = False
    with pytest.raises(ValueError, match=r"does not fit the model.*\n.* unexpected: backbone\.prompt_encoder"):
        load_weights(build_model(config), tmp_path / "last")


@pytest.mark.parametrize("name", only({"cod_r32"}, [*FILES, " ".join(["cod_r32", *OPTIONS])]))
def test_fast_paths_agree_with_plain_ones(name: str) -> None:
    """Activation checkpointing agrees to the bit, the prepared model up to rounding; memory can be estimated."""
    model = build_model(tiny(*name.split()).model)
    image = torch.randn(2, 3, 64, 64)
    assert all(next(block.parameters()).numel() for block in encoder_blocks(model))
    if any(parameter.requires_grad for parameter in model.parameters()):
        memory = step_memory(model, batch_size=2, device=torch.device("cpu"), bf16=True)
        assert len(memory.blocks) == len(encoder_blocks(model))
        assert (memory.peak(len(memory.blocks)) < memory.peak(0)) != isinstance(model.backbone, TimmBackbone)
        again = deepcopy(model)
        recompute_blocks(again)
        for each in (model, again):
            torch.manual_seed(0)
            backward(each)
        gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
        for key, parameter in again.named_parameters():
            assert parameter.grad is gradients[key] is None or torch.equal(parameter.grad, gradients[key])
    if model.oracle:
        return
    model.eval()
    for bf16 in (False, True):
        prepared = deepcopy(model)
        prepare_for_inference(prepared, bf16=bf16)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            expected, found = (each(image).logits.float() for each in (model, prepared))
        scale = expected.abs().max().clamp(min=1e-3)
        assert (found - expected).abs().max() < (0.05 if bf16 else 1e-4) * scale
