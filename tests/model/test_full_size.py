"""Models at full width, from the real configurations: one training step at 512 px, and the shapes at our 1024 px."""

import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from support.builders import save_official_format
from support.defaults import loss_weights_with

from ipsam.engine.runs.configuration import build_model, compose_experiment, drop_checkpoints
from ipsam.engine.train.fake_step import copy_without_weights, fake_step
from ipsam.engine.train.losses import ipsam_loss
from ipsam.model import IPSAMOutput, SAM2Backbone
from ipsam.model.baselines import SAM2
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
    overrides = [f"model.backbone.checkpoint={large_checkpoint}", "data.image_size=512"]
    model = build_model(compose_experiment(CONFIGS, "cod_r32", overrides).model).train()
    assert model.backbone.base_sha256 == sha256_of(large_checkpoint)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == TRAINABLE

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    mask = torch.zeros(1, 1, 512, 512)
    mask[..., 150:350, 100:300] = 1
    output = model(torch.randn(1, 3, 512, 512))
    check_shapes(output, 128)
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

    record_cost(record_property, start)


def check_shapes(output: IPSAMOutput, side: int) -> None:
    assert output.logits.shape == output.fg_logits.shape == output.bg_logits.shape == (1, 1, side, side)
    assert output.gate.shape == (1, 1, side // 4, side // 4)
    assert [level.shape[-1] for level in output.auxiliary] == [side, side // 2, side // 4]


@pytest.mark.slow
def test_step_at_1024_px_has_the_right_shapes() -> None:
    """By fake tensors, which have shapes but no values."""
    config = compose_experiment(CONFIGS, "cod_r32")
    drop_checkpoints(config.model)
    model, outputs = build_model(config.model), []
    assert model.backbone.image_size == 1024
    model.register_forward_hook(lambda _, __, output: outputs.append(output))
    fake_step(copy_without_weights(model), batch_size=1, device=torch.device("cpu"), bf16=False)
    check_shapes(outputs[0], 256)


def record_cost(record_property: Callable[[str, object], None], start: float) -> None:
    """Record seconds since ``start`` and the process's peak memory, which is the test's own if it runs alone."""
    record_property("seconds", round(time.perf_counter() - start, 1))
    record_property("peak_memory_gib", round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2))  # from KiB


def published_sam(folder: Path) -> Path:
    """Random weights of SAM ViT-B for 1024 px in a folder like the Hub's."""
    from transformers import SamConfig, SamModel

    SamModel(SamConfig()).save_pretrained(folder / "sam-vit-base")
    return folder / "sam-vit-base"


def published_sam2(folder: Path) -> Path:
    """Random weights of SAM2-L, its mask decoder included, in a file like SAM2's."""
    torch.save({"model": SAM2("large").model.state_dict()}, folder / "random_large.pt")
    return folder / "random_large.pt"


SYSTEMS = {  # trainable parameters at 512 px
    "mdsam": (published_sam, 14_565_425),
    "medsam": (published_sam, 93_729_252 - 768 * (64**2 - 32**2) - 4 * 2 * 64 * (127 - 63)),  # smaller position tables
    "sam2_adapter": (published_sam2, 3_940_437),
}


@pytest.mark.slow
@pytest.mark.usefixtures("every_core")
@pytest.mark.parametrize("name", SYSTEMS)
def test_comparison_system_at_512_px(name: str, record_property: Callable[[str, object], None]) -> None:
    publish, trainable = SYSTEMS[name]
    with TemporaryDirectory() as folder:  # removed at once, as pytest keeps its own
        weights = publish(Path(folder))
        start = time.perf_counter()
        overrides = ["data.image_size=512", f"model.backbone.checkpoint={weights}"]
        model = build_model(compose_experiment(CONFIGS, f"baseline/{name}", overrides).model).train()
    assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == trainable
    mask = torch.zeros(1, 1, 512, 512)
    mask[..., 150:350, 100:300] = 1
    output = model(torch.randn(1, 3, 512, 512))
    assert output.coarse.shape == (1, 1, 128, 128)
    loss = ipsam_loss(output, mask, loss_weights_with())["total"]
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in (loss, *gradients))
    record_cost(record_property, start)
