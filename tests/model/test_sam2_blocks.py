"""Blocks of SAM equal sam2's own, and models on other backbones do without that package."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from sam2.modeling.backbones.image_encoder import FpnNeck
from sam2.modeling.sam import prompt_encoder, transformer
from sam2.modeling.sam2_utils import MLP as SAM2MLP
from sam2.modeling.sam2_utils import LayerNorm2d as SAM2LayerNorm2d
from support.builders import randomise
from support.experiments import tiny
from torch import nn

from ipsam.engine.runs.checkpoint import save_checkpoint
from ipsam.engine.runs.configuration import build_model
from ipsam.model.backbones.backbone import Neck
from ipsam.model.backbones.prompt_encoder import PromptEncoder
from ipsam.model.decoder import MLP
from ipsam.model.layers import LayerNorm2d
from ipsam.model.two_way import TwoWayTransformer

BLOCKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], list[tuple[int, ...]]]] = {
    "layer_norm": (lambda: LayerNorm2d(6), lambda: SAM2LayerNorm2d(6), [(2, 6, 3, 5)]),
    "mlp": (lambda: MLP(6, 8, 4, 3), lambda: SAM2MLP(6, 8, 4, 3), [(2, 6)]),
    "transformer": (
        lambda: TwoWayTransformer(depth=2, embedding_dim=32, num_heads=4, mlp_dim=48),
        lambda: transformer.TwoWayTransformer(depth=2, embedding_dim=32, num_heads=4, mlp_dim=48),
        [(2, 32, 3, 5), (2, 32, 3, 5), (2, 7, 32)],
    ),
}


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    return make()


def check_same_state(ours: nn.Module, theirs: nn.Module) -> None:
    states = ours.state_dict(), theirs.state_dict()
    assert list(states[0]) == list(states[1])
    assert all(map(torch.equal, states[0].values(), states[1].values()))


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("bf16", [False, True])
def test_block_equals_sam2s_to_the_bit(name: str, bf16: bool) -> None:
    """Weights of a seed, outputs and gradients, those of the inputs too."""
    make, make_theirs, shapes = BLOCKS[name]
    ours, theirs = seeded(make), seeded(make_theirs)
    check_same_state(ours, theirs)
    randomise(ours, scale=0.3)
    theirs.load_state_dict(ours.state_dict())
    values = [torch.randn(shape) for shape in shapes]
    results = []
    for module in (ours, theirs):
        inputs = [value.clone().requires_grad_() for value in values]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            output: Any = module(*inputs)
        outputs = output if isinstance(output, tuple) else (output,)
        sum(one.float().square().sum() for one in outputs).backward()
        results.append([*outputs, *(tensor.grad for tensor in (*inputs, *module.parameters()))])
    assert all(map(torch.equal, *results))


def test_prompt_encoder_equals_sam2s_to_the_bit() -> None:
    ours = seeded(lambda: PromptEncoder(16, 5))
    theirs: Any = seeded(lambda: prompt_encoder.PromptEncoder(16, (5, 5), (80, 80), mask_in_chans=16))
    check_same_state(ours, theirs)
    logits = torch.randn(2, 1, 20, 20)
    assert torch.equal(ours.mask_downscaling(logits), theirs(points=None, boxes=None, masks=logits)[1])
    assert torch.equal(ours.get_dense_pe(), theirs.get_dense_pe())
    assert (ours.image_embedding_size, ours.mask_input_size) == (theirs.image_embedding_size, theirs.mask_input_size)


def test_neck_has_sam2s_layers() -> None:
    levels = [2, 3]
    check_same_state(
        seeded(lambda: Neck(8, [3, 4, 5, 6])),
        seeded(lambda: FpnNeck(nn.Identity(), 8, [6, 5, 4, 3], fpn_top_down_levels=levels)),
    )
    assert list(Neck.fpn_top_down_levels) == levels


WITHOUT_SAM2 = """
import sys
sys.modules["sam2"] = None  # as where it is not installed
import torch
import ipsam
from ipsam.engine.runs.configuration import build_model
from ipsam.model import SAM2Backbone, TransformersBackbone

model = ipsam.load(sys.argv[1], device="cpu")
mask = model.predict(torch.zeros(40, 50, 3, dtype=torch.uint8).numpy()).mask
assert mask.shape == (40, 50)
TransformersBackbone("sam2", "micro", image_size=64)(torch.zeros(1, 3, 64, 64))
try:
    SAM2Backbone("micro", image_size=64)
except ImportError as error:
    print(error)
"""


@pytest.mark.slow
def test_other_backbones_do_without_sam2(tmp_path: Path) -> None:
    """They predict, and SAM2's own says how to install the package and what to take instead."""
    config = tiny("lite")
    folder = tmp_path / "run" / "checkpoints" / "step_00000001"
    text = OmegaConf.to_yaml(config, resolve=True)
    save_checkpoint(folder, build_model(config.model), config=text, training={"progress": {"step": 1}})
    done = subprocess.run([sys.executable, "-c", WITHOUT_SAM2, folder], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "pip install sam2; or take SAM2 from transformers" in done.stdout
