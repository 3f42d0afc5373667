"""The paper's main model at full width, from the real configuration: one training step at 1024 px, our default."""

import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from support.builders import save_official_format
from support.defaults import loss_weights_with

from ipsam.engine.runs.configuration import build_model, compose_experiment
from ipsam.engine.train.losses import ipsam_loss
from ipsam.model import SAM2Backbone
from ipsam.utils.weights import sha256_of

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RANK = 32
TRAINABLE = 163_152 * RANK + 16_035_237


@pytest.fixture
def large_checkpoint(tmp_path: Path) -> Iterator[Path]:
    """Random weights of SAM2-L in a file like SAM2's; removed at once, as pytest keeps its folders."""
    path = save_official_format(tmp_path / "random_large.pt", SAM2Backbone("large"))
    yield path
    path.unlink()


@pytest.fixture
def every_core() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("every_core")
def test_one_training_step(large_checkpoint: Path, record_property: Callable[[str, object], None]) -> None:
    start = time.perf_counter()
    config = compose_experiment(CONFIGS, "cod_r32", [f"model.backbone.checkpoint={large_checkpoint}"])
    model = build_model(config.model).train()
    assert model.backbone.image_size == 1024
    assert model.backbone.base_sha256 == sha256_of(large_checkpoint)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == TRAINABLE

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    image = torch.randn(1, 3, 1024, 1024)
    mask = torch.zeros(1, 1, 1024, 1024)
    mask[..., 300:700, 200:600] = 1
    output = model(image)
    assert output.logits.shape == output.fg_logits.shape == output.bg_logits.shape == (1, 1, 256, 256)
    assert output.gate.shape == (1, 1, 64, 64)
    assert [tuple(level.shape[-2:]) for level in output.auxiliary] == [(256, 256), (128, 128), (64, 64)]
    loss = ipsam_loss(output, mask, loss_weights_with())["total"]
    assert loss.isfinite()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert gradients.keys() == trainable
    assert sum(gradient.numel() for gradient in gradients.values()) == TRAINABLE
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    optimizer.step()

    # Frozen weights still equal the file's to the bit.
    state = model.state_dict()
    stored = torch.load(large_checkpoint, weights_only=True, mmap=True)["model"]
    frozen = {
        f"backbone.{key}".replace("sam_prompt_encoder", "prompt_encoder")
        .replace("attn.qkv.", "attn.qkv.base_layer.")
        .replace("attn.proj.", "attn.proj.base_layer."): tensor
        for key, tensor in stored.items()
        if key.startswith(("image_encoder.", "sam_prompt_encoder."))
    }
    assert frozen.keys() == state.keys() - trainable
    assert all(torch.equal(state[name], tensor) for name, tensor in frozen.items())

    record_property("seconds", round(time.perf_counter() - start, 1))
    record_property("peak_memory_gib", round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2))  # from KiB
