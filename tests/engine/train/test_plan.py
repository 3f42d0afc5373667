"""What a run costs is estimated before it starts."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig
from support.builders import micro_model
from support.defaults import loss_weights_with
from support.experiments import CONFIGS
from support.quick import only
from support.training import CONFIG, same
from torch.utils.flop_counter import FlopCounterMode

from ipsam.engine.runs.configuration import compose_experiment
from ipsam.engine.runs.provenance import count_parameters
from ipsam.engine.train import plan
from ipsam.engine.train.losses import ipsam_loss
from ipsam.engine.train.memory import StepMemory
from ipsam.engine.train.plan import ON_CPU, Plan, epoch_steps, plan_run, step_flops, warn_of_cpu
from ipsam.engine.train.trainer import train
from ipsam.model.activation_checkpointing import recompute_blocks

CPU = torch.device("cpu")


SMALLEST = ("data.image_size=64", *(f"model.{part}=null" for part in ("self_prompt", "gating", "lateral", "refine")))


def composed(tmp_path: Path, *overrides: str) -> DictConfig:
    options = (*SMALLEST, "model.decoder.own_mask_tokens=true", f"paths.data={tmp_path}")
    return compose_experiment(CONFIGS, "kvasir_micro", [*options, *overrides])


@pytest.mark.parametrize("checkpointing", only({True}, [False, True]))
def test_flops_are_those_of_a_real_step(checkpointing: bool) -> None:
    model = micro_model(self_prompt=False, lateral=False, refine=False)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    flops = step_flops(model, batch_size=2, device=CPU, bf16=False, checkpointing=checkpointing)
    assert same(model.state_dict(), before)
    assert all(parameter.grad is None for parameter in model.parameters())
    if checkpointing:
        recompute_blocks(model)
    with FlopCounterMode(display=False, custom_mapping=ON_CPU) as counter:
        output = model.train()(torch.randn(2, 3, 64, 64))
        ipsam_loss(output, torch.zeros(2, 1, 64, 64), loss_weights_with())["total"].backward()
    assert flops == counter.get_total_flops()
    attention = {str(key) for key in ON_CPU}
    assert attention <= {str(key) for key in counter.get_flop_counts()["Global"]}


@pytest.mark.slow
def test_checkpointing_costs_operations_and_saves_memory(tmp_path: Path) -> None:
    """Without its files, a set has its published number of images; weights are not read."""
    found = plan_run(composed(tmp_path, "engine.batch_size=4", "engine.accumulate=2"))
    assert (found.num_pairs, found.is_published, found.epochs, found.num_steps) == (900, True, 28, 28 * 113)
    assert found.flops[1] > 1.02 * found.flops[0]
    assert found.gigabytes(checkpointing=True) < found.gigabytes(checkpointing=False)
    assert "training pairs: 900 (the published number: their files were not found)" in found.report()


def test_hours_follow_from_steps_operations_and_rate() -> None:
    memory = StepMemory(fixed=1 << 30, outside=0, blocks=[10 << 30], inputs=[0])
    found = Plan(233.97, 21.26, 4040, False, 100, 4040, (4_400_000_000_000, 5_800_000_000_000), memory, True)
    assert found.hours("RTX 3090", checkpointing=False) == pytest.approx(404_000 * 4.4 / (0.35 * 71) / 3600)
    assert found.cells(checkpointing=True, cards=["H100"]) == ["5,800", "12.0", "1.9"]
    text = found.report()
    assert "steps: 404,000, 100 epochs of 4,040" in text
    assert "training pairs: 4,040\n" in text
    assert "| off " in text
    assert "So does fp32" not in text
    assert replace(found, bf16=False).report().endswith("take longer. So does fp32: 2 to 15 times as long.")
    assert "at 35% of a card's dense bf16 rate (RTX 3090: 71, RTX 4090: 165, A100: 312, H100: 989 TFLOP/s)" in text


def test_folder_given_by_hand_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"own/train: the folder of images own/images doesn't exist"):
        plan_run(composed(tmp_path, "data.train=[{name: own, images: own/images, masks: own/masks}]"))


def test_group_without_a_parameter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"engine.groups\[0\]: match='loras' finds no trainable parameter"):
        plan_run(composed(tmp_path, "engine.groups=[{match: loras}]"))


def test_steps_of_an_epoch_are_those_of_training(tmp_path: Path, scenes: Any, make_settings: Any) -> None:
    settings = make_settings(epochs=2, accumulate=2, batch_size=2)
    train_set, _ = scenes(num_train=7).train_and_val(seed=0)
    progress = train(micro_model(), train_set, settings=settings, folder=tmp_path, config=CONFIG, seed=0)
    assert progress is not None
    assert progress.step == settings.epochs * epoch_steps(7, settings) == 4


@pytest.mark.parametrize("is_large", [False, True])
def test_only_a_large_model_on_a_cpu_gets_a_warning(
    is_large: bool,
    scenes: Any,
    make_settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model, settings = micro_model(), make_settings(epochs=1000)
    train_set, _ = scenes(num_train=7).train_and_val(seed=0)
    monkeypatch.setattr(plan, "step_flops", lambda *_, **__: 42_000_000_000)
    monkeypatch.setattr(plan, "matrix_rate", lambda *_, **__: 1e10)
    if is_large:
        monkeypatch.setattr(plan, "LARGE", count_parameters(model)[0])
    warn_of_cpu(model, train_set, settings)
    warn_of_cpu(model.requires_grad_(False), train_set, settings)
    warn_of_cpu(model, None, settings)
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(texts) == is_large
    if is_large:
        assert "a step takes at least 4.2 s (0.042 TFLOPs at the 0.01 TFLOP/s of a matrix product here)" in texts[0]
        assert "the run's 4000 steps 5 hours;" in texts[0]
