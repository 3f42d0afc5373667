"""Small models for every test: the micro variant, 64 px, widths as in configs/model/micro.yaml; and the real data."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ipsam.model import (
    IPSAM,
    LateralInhibition,
    LoRA,
    MaskDecoder,
    PromptSpaceGating,
    RefinementHead,
    SAM2Backbone,
    SelfPromptGenerator,
)

# Real images and maps, for the tests marked ``data``: where IPSAM_TEST_DATA says, or beside the repository.
REAL_DATA = Path(os.environ.get("IPSAM_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")

DIM = 64
TRANSFORMER: dict[str, Any] = {"depth": 2, "num_heads": 4, "mlp_dim": 128}


def skip_without(package: str) -> None:
    """Skip a test if a package is missing; without importing it, as ultralytics then replaces functions of Pillow."""
    if find_spec(package) is None:
        pytest.skip(f"needs {package}")


def micro_parts(**overrides: nn.Module | None) -> dict[str, nn.Module | None]:
    """Every part of the full micro model but the backbone, by its name in ``IPSAM``; ``overrides`` replace some."""
    parts: dict[str, nn.Module | None] = {
        "decoder": MaskDecoder(DIM, **TRANSFORMER),
        "self_prompt": SelfPromptGenerator(DIM, head_channels=(32, 32, 16, 16), **TRANSFORMER),
        "gating": PromptSpaceGating(DIM, hidden=16),
        "lateral": LateralInhibition(DIM, hidden=16),
        "refine": RefinementHead(DIM, bottleneck=16),
    }
    if unknown := overrides.keys() - parts.keys():
        raise TypeError(f"no such parts: {sorted(unknown)}")
    return parts | overrides


def micro_backbone(
    *,
    image_size: int = 64,
    lora: LoRA | None = None,
    checkpoint: str | Path | None = None,
    fine_tune: bool = False,
) -> SAM2Backbone:
    """The micro variant of the backbone."""
    return SAM2Backbone("micro", image_size=image_size, checkpoint=checkpoint, lora=lora, fine_tune=fine_tune)


def micro_model(
    *,
    image_size: int = 64,
    self_prompt: bool = True,
    gating: bool = True,
    lateral: bool = True,
    refine: bool = True,
    lora: LoRA | None = None,
    checkpoint: str | Path | None = None,
    fine_tune: bool = True,
    **arguments: Any,
) -> IPSAM:
    """IP-SAM at micro size, in training mode; parts set to False are left out, ``arguments`` go to ``IPSAM``.

    Without ``self_prompt`` there is no gating either, and the decoder has mask tokens of its own. With ``lora`` the
    trunk is not fine-tuned.
    """
    keep = {"self_prompt": self_prompt, "gating": gating and self_prompt, "lateral": lateral, "refine": refine}
    parts = micro_parts(**{name: None for name, kept in keep.items() if not kept})
    if not self_prompt:
        parts["decoder"] = MaskDecoder(DIM, own_mask_tokens=True, **TRANSFORMER)
    backbone = micro_backbone(
        image_size=image_size, lora=lora, checkpoint=checkpoint, fine_tune=fine_tune and lora is None
    )
    return IPSAM(backbone, **parts, **arguments)  # type: ignore[arg-type]


def save_official_format(path: Path, backbone: SAM2Backbone, decoder: nn.Module | None = None) -> Path:
    """Write a backbone's weights as SAM2 publishes them, with a few keys of the parts that IP-SAM does not use.

    The mask decoder is only a part of SAM2's, unless it is given.
    """
    state: dict[str, Tensor] = {
        "no_mem_embed": torch.linspace(-1, 1, backbone.dim).view(1, 1, -1),
        "maskmem_tpos_enc": torch.zeros(7, 1, 1, 64),
        "sam_mask_decoder.iou_token.weight": torch.zeros(1, backbone.dim),
        "memory_encoder.out_proj.bias": torch.zeros(64),
    }
    parts = {"image_encoder": backbone.image_encoder, "sam_prompt_encoder": backbone.prompt_encoder}
    for prefix, module in (parts if decoder is None else parts | {"sam_mask_decoder": decoder}).items():
        state |= {f"{prefix}.{key}": tensor for key, tensor in module.state_dict().items()}
    torch.save({"model": state}, path)
    return path


def randomise(module: nn.Module, *, scale: float = 0.1) -> None:
    """Fill every parameter with noise, so that nothing that starts at zero hides what it does."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=scale)
