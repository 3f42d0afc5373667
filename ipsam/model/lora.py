"""Low-rank adaptation of the image encoder, through peft."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

PROJECTIONS = ("qkv", "proj")
STAGES = (1, 2, 3, 4)


@dataclass(frozen=True)
class LoRA:
    """Where and how strongly the Hiera trunk is adapted (paper section 3.5 and Table 3, part IV).

    Args:
        rank: rank of each update.
        alpha: scale; the update is multiplied by alpha / rank. None means alpha = rank.
        dropout: dropout on the input of each update.
        projections: which attention projections, of ``qkv`` and ``proj``.
        stages: which of Hiera's stages 1 to 4.
        block_stride: every how many-th block, counted from the trunk's first (2: half of them).

    Raises:
        ValueError: for a value that names no block or projection, with the allowed ones.
    """

    rank: int = 32
    alpha: float | None = None
    dropout: float = 0.0
    projections: Sequence[str] = PROJECTIONS
    stages: Sequence[int] = STAGES
    block_stride: int = 1

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"LoRA rank must be at least 1, not {self.rank}; for no LoRA set model.backbone.lora=null")
        if self.block_stride < 1:
            raise ValueError(f"LoRA block_stride must be at least 1, not {self.block_stride}")
        if not self.projections or not set(self.projections) <= set(PROJECTIONS):
            raise ValueError(f"LoRA projections must be some of {list(PROJECTIONS)}, not {list(self.projections)}")
        if not self.stages or not set(self.stages) <= set(STAGES):
            raise ValueError(f"LoRA stages must be some of {list(STAGES)}, not {list(self.stages)}")

    def target_modules(self, trunk: nn.Module) -> list[str]:
        """Names, relative to the trunk, of the linear layers that get an update.

        Raises:
            ValueError: if ``stages`` and ``block_stride`` together leave no block.
        """
        ends: list[int] = trunk.stage_ends  # type: ignore[assignment]  # Hiera's: index of each stage's last block
        blocks = [
            block
            for block in range(0, ends[-1] + 1, self.block_stride)
            if 1 + sum(block > end for end in ends) in self.stages
        ]
        if not blocks:
            raise ValueError(
                f"LoRA stages {list(self.stages)} with block_stride {self.block_stride} choose no block of a trunk "
                f"whose stages end at blocks {list(ends)}"
            )
        return [f"blocks.{block}.attn.{projection}" for block in blocks for projection in self.projections]

    def inject(self, trunk: nn.Module) -> None:
        """Freeze the trunk and wrap the chosen layers, in place. An update starts at zero.

        Raises:
            ImportError: peft, or transformers, which it needs, does not go with this torch.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model  # here, as it takes seconds that only LoRA should cost
        except Exception as error:  # a transformers for newer versions of torch fails with all kinds of them
            if not torch.__version__.startswith("2.5."):
                raise
            raise ImportError(
                f"peft can't be imported beside torch {torch.__version__} ({type(error).__name__}: {error}); "
                "pip install 'transformers<5.19'"
            ) from error

        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.rank if self.alpha is None else self.alpha,
            lora_dropout=self.dropout,
            target_modules=self.target_modules(trunk),
        )
        inject_adapter_in_model(config, trunk)


def merge_lora(model: nn.Module) -> None:
    """Add every update to the weights it adapts, in place; the wrapped layers are plain linear layers again."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if _is_adapted(child):
                layer: Any = child
                layer.merge()
                setattr(module, name, layer.get_base_layer())


def add_lora_by_addmm(model: nn.Module) -> None:
    """Change the model, in place and for good, so that one ``addmm`` makes an update, scales and adds it.

    peft scales and adds it in passes of their own over the frozen layer's output. The same but for rounding; the model
    trains, is copied and merged as before.
    """
    for module in model.modules():
        if _is_adapted(module):
            module.forward = MethodType(_by_addmm, module)


def _is_adapted(module: nn.Module) -> bool:
    return hasattr(module, "get_base_layer") and hasattr(module, "merge")  # peft's; not imported where there is none


def _by_addmm(layer: Any, tokens: Float[Tensor, "... c"]) -> Float[Tensor, "... d"]:
    if layer.merged or layer.disable_adapters:  # nothing to add
        unchanged: Tensor = type(layer).forward(layer, tokens)
        return unchanged
    (name,) = layer.active_adapters
    frozen = layer.get_base_layer()(tokens)
    reduced = layer.lora_A[name](layer.lora_dropout[name](tokens))
    up = layer.lora_B[name].weight
    flat = torch.addmm(frozen.flatten(0, -2), reduced.flatten(0, -2), up.t(), alpha=layer.scaling[name])
    return flat.view(frozen.shape)
