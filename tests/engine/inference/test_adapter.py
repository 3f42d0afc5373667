"""LoRA is saved a second time as peft loads it, beside the trained weights."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from peft import PeftModel
from support.builders import micro_backbone, randomise
from support.run_folders import CONFIGS

from ipsam.engine.inference.sharing import save_pretrained
from ipsam.engine.runs.checkpoint import damage, save_checkpoint
from ipsam.engine.runs.configuration import build_model, compose_experiment

ADAPTER = {"adapter_config.json", "adapter_model.safetensors"}


@pytest.mark.parametrize("lora", ["rank: 3", "rank: 2, alpha: 7, projections: [qkv], block_stride: 2, dropout: 0.1"])
def test_peft_loads_a_checkpoints_lora_onto_the_trunk(tmp_path: Path, micro_checkpoint: Path, lora: str) -> None:
    """From a checkpoint, and from folders to share, also those made of another."""
    given = [
        f"model.backbone.checkpoint={micro_checkpoint}",
        f"model.backbone.lora={{_target_: ipsam.model.LoRA, {lora}}}",
    ]
    config = compose_experiment(CONFIGS, "quickstart", ["data.image_size=64", "model.backbone.fine_tune=false", *given])
    model = build_model(config.model)
    for module in model.backbone.modules():
        if hasattr(module, "lora_B"):
            randomise(module.lora_A)
            randomise(module.lora_B)
    checkpoint = tmp_path / "step_00000001"
    save_checkpoint(checkpoint, model, config=OmegaConf.to_yaml(config, resolve=True), training={})
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = model.eval().backbone.image_encoder.trunk(image)
        untrained = micro_backbone(checkpoint=micro_checkpoint).eval().image_encoder.trunk(image)
    assert not any(torch.equal(*pair) for pair in zip(expected, untrained, strict=True))
    shared = save_pretrained(checkpoint, tmp_path / "shared")
    for folder in (checkpoint, shared, save_pretrained(shared, tmp_path / "half", half=True)):
        trunk = micro_backbone(checkpoint=micro_checkpoint).image_encoder.trunk
        with torch.no_grad():
            found = PeftModel.from_pretrained(trunk, str(folder)).eval()(image)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0.01 if folder.name == "half" else 0)
    (checkpoint / "adapter_model.safetensors").write_bytes(b"cut off")  # which ipsam does not read
    assert damage(checkpoint) is None


def test_model_without_lora_has_no_adapter(checkpoint: Path, tmp_path: Path) -> None:
    shared = save_pretrained(checkpoint, tmp_path / "shared")
    for folder in (checkpoint, shared):
        assert not ADAPTER & {path.name for path in folder.iterdir()}
