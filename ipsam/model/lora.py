"""Low-rank adaptation of the image encoder, through peft."""

import math
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
class AttentionBlock:
    """Attention of one block of a trunk, by the names of its linear layers.

    Attributes:
        stage: of the trunk that the block belongs to, from 1.
        qkv: layers of queries, keys and values: one for all, or three.
        proj: layer of the output.
    """

    stage: int
    qkv: tuple[str, ...]
    proj: tuple[str, ...]


@dataclass(frozen=True)
class LoRA:
    """Rank, scale and layers of a low-rank adaptation of a trunk (paper section 3.5; Table 3, part IV).

    Args:
        rank: rank of each update, at least 1.
        alpha: an update is multiplied by alpha / rank, above 0; None means alpha = rank. The paper gives none.
        dropout: dropout on the input of each update.
        projections: adapted attention projections, some of ``qkv`` and ``proj``.
        stages: adapted stages of the trunk, some of 1 to 4.
        block_stride: adapt every n-th block, counted from the trunk's first (2: half of them).

    Raises:
        ValueError: an argument is out of range; the message names the allowed values.
    """

    rank: int = 32
    alpha: float | None = None
    dropout: float = 0.0
    projections: Sequence[str] = PROJECTIONS
    stages: Sequence[int] = STAGES
    block_stride: int = 1

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"LoRA rank must be at least 1, not {self.rank}; for no LoRA set lora=None")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise ValueError(f"LoRA alpha must be a positive number, not {self.alpha}; None means alpha = rank")
        if self.block_stride < 1:
            raise ValueError(f"LoRA block_stride must be at least 1, not {self.block_stride}")
        for name, chosen, allowed in (
            ("projections", self.projections, PROJECTIONS),
            ("stages", self.stages, STAGES),
        ):
            if not chosen or not set(chosen) <= set(allowed):
                raise ValueError(f"LoRA {name} must be some of {list(allowed)}, not {list(chosen)}")

    def target_modules(self, trunk: nn.Module, blocks: Sequence[AttentionBlock] | None = None) -> list[str]:
        """List the adapted linear layers by their names in the trunk.

        Args:
            trunk: the trunk.
            blocks: its blocks; None for a Hiera, which says them itself.

        Raises:
            ValueError: ``stages`` and ``block_stride`` together select no block.
        """
        blocks = hiera_blocks(trunk) if blocks is None else blocks
        chosen = [block for block in blocks[:: self.block_stride] if block.stage in self.stages]
        if not chosen:
            last = {block.stage: index for index, block in enumerate(blocks)}
            raise ValueError(
                f"LoRA stages {list(self.stages)} with block_stride {self.block_stride} select no block of a trunk "
                f"whose stages end at blocks {list(last.values())}"
            )
        return [name for block in chosen for projection in self.projections for name in getattr(block, projection)]

    def inject(self, trunk: nn.Module, blocks: Sequence[AttentionBlock] | None = None) -> None:
        """Freeze the trunk and wrap the layers selected of ``blocks``, in place. Updates start at zero.

        Raises:
            ImportError: peft, or transformers, which it needs, is too new for this torch.
        """
        try:
            from peft import LoraConfig, inject_adapter_in_model  # imported late: it takes seconds
        except Exception as error:  # a transformers that is too new for torch raises various exceptions
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
            target_modules=self.target_modules(trunk, blocks),
        )
        inject_adapter_in_model(config, trunk)


def hiera_blocks(trunk: nn.Module) -> list[AttentionBlock]:
    """List the blocks of a Hiera trunk, sam2's or transformers'."""
    ends: list[int] = trunk.stage_ends  # type: ignore[assignment]  # index of each stage's last block
    return [
        AttentionBlock(
            1 + sum(block > end for end in ends),
            qkv=(f"blocks.{block}.attn.qkv",),
            proj=(f"blocks.{block}.attn.proj",),
        )
        for block in range(ends[-1] + 1)
    ]


def adapter_of(model: nn.Module) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return a model's LoRA as ``peft.PeftModel`` loads it onto the same trunk without LoRA: configuration and weights.

    Returns:
        None for a model without LoRA.
    """
    trunk: Any = next((module for module in model.modules() if hasattr(module, "peft_config")), None)
    state = {} if trunk is None else trunk.state_dict()
    weights = {name: tensor for name, tensor in state.items() if ".lora_" in name}
    if not weights:
        return None
    (name,) = trunk.peft_config
    config = trunk.peft_config[name]
    about = {key: getattr(config, key) for key in ("r", "lora_alpha", "lora_dropout", "bias")}
    about |= {"peft_type": "LORA", "target_modules": sorted(config.target_modules), "inference_mode": True}
    about |= {"task_type": None, "base_model_name_or_path": None}
    return about, {f"base_model.model.{key.replace(f'.{name}.', '.')}": tensor for key, tensor in weights.items()}


def merge_lora(model: nn.Module) -> None:
    """Merge every update into the weights it adapts, in place, and unwrap the layers."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if _is_adapted(child):
                layer: Any = child
                layer.merge()
                setattr(module, name, layer.get_base_layer())


def add_lora_by_addmm(model: nn.Module) -> None:
    """Compute, scale and add each update by one ``addmm`` instead of peft's three operators. This works in place.

    Results are equal up to rounding. The model can be trained, copied and merged as before.
    """
    for module in model.modules():
        if _is_adapted(module):
            module.forward = MethodType(_by_addmm, module)


def _is_adapted(module: nn.Module) -> bool:
    # Checked by attributes, as importing peft for its type would take seconds.
    return hasattr(module, "get_base_layer") and hasattr(module, "merge")


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
